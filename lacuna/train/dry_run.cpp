#include "lacuna/train/dry_run.h"

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <fstream>
#include <sstream>

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/core/torch.h"
#include "lacuna/train/names.h"
#include "lacuna/train/trainer.h"

namespace lacuna::train {

namespace {

constexpr int64_t kPictures = 4;  // of the larger pass that memory is estimated from
constexpr int64_t kMostSteps = 10;
constexpr double kMeasuredSeconds = 10;
constexpr double kRoom = 0.9;  // share of the free memory that steps may be expected to take

/// Bytes of tensors made and freed by this thread and autograd's, as LibTorch's allocators report them.
class MemoryWatch final : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, int64_t bytes, size_t, size_t, c10::Device) override {
    const int64_t live = live_ += bytes;
    if (live > peak_) peak_ = live;
  }
  bool memoryProfilingEnabled() const override { return true; }
  double peak() const { return static_cast<double>(peak_); }

 private:
  std::atomic<int64_t> live_ = 0, peak_ = 0;
};

double bytes_of(const Tensor& tensor) { return static_cast<double>(tensor.nbytes()); }

/// Most bytes held beside weights and gradients while `batch` passes forward and backward.
double pass_bytes(Method& method, const Batch& batch, const TrainConfig& config) {
  const auto watch = std::make_shared<MemoryWatch>();
  const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, watch);
  SeededDraws draws(static_cast<uint64_t>(config.seed), 0, batch.sample);
  Loss loss;
  {
    const ForwardMode mode(config, batch.device().type());
    loss = method.forward(batch, draws);
  }
  loss.total.backward();
  return watch->peak();
}

data::LoaderConfig loader_config(const RunConfig& config, int64_t batch_size, int64_t workers) {
  return {.batch_size = batch_size,
          .workers = workers,
          .prefetch = config.train.prefetch,
          .seed = static_cast<uint64_t>(config.train.seed),
          .max_bad = config.data.max_bad};
}

MemoryEstimate estimate_memory(Method& method, const std::shared_ptr<data::Dataset>& dataset,
                               const RunConfig& config, torch::Device device) {
  MemoryEstimate out;
  for (const auto& [name, tensor] : method.weights()) out.weights += bytes_of(tensor);
  for (auto& parameter : method.parameters())
    if (parameter.requires_grad()) {
      out.gradients += bytes_of(parameter);
      parameter.mutable_grad() = torch::zeros_like(parameter);
    }
  out.optimizer = out.gradients * (config.train.optimizer == "adamw" ? 2 : 1);

  out.large = std::min(kPictures, config.train.batch_size);
  out.small = std::max<int64_t>(out.large / 2, 1);
  data::Loader loader(dataset, make_transform(config, method), loader_config(config, out.large, 0));
  const auto batch = loader.next();
  const auto pass = [&](int64_t rows) {
    return pass_bytes(method, batch.first(rows).to(device), config.train);
  };
  pass(out.small);  // libraries set themselves up
  const double small = pass(out.small), large = pass(out.large);
  const double each =
      out.large > out.small ? (large - small) / static_cast<double>(out.large - out.small) : 0;
  out.activations = large + each * static_cast<double>(config.train.batch_size - out.large);
  for (auto& parameter : method.parameters()) parameter.mutable_grad().reset();
  // Held ready, the one being made and the one in use.
  out.batches = batch.input_bytes() / static_cast<double>(out.large) *
                static_cast<double>(config.train.batch_size * (config.train.prefetch + 2));
  return out;
}

/// Bytes that processes may still take on this machine; 0 when that can't be known.
double free_host_memory() {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string key;
    double kilobytes = 0;
    if (words >> key >> kilobytes && key == "MemAvailable:") return kilobytes * 1024;
  }
  return 0;
}

MeasuredStep measure_steps(Method& method, const std::shared_ptr<data::Dataset>& dataset,
                           const RunConfig& config, torch::Device device) {
  data::Loader loader(dataset, make_transform(config, method),
                      loader_config(config, config.train.batch_size, config.train.workers));
  const auto optimizer = make_optimizer(method, config.train);
  StepState state(config.train, config.health.spike);
  std::vector<double> seconds;
  double waited = 0;
  const double start = log::monotonic_seconds();
  for (int64_t step = 0; step <= kMostSteps; ++step) {
    const double begun = log::monotonic_seconds(), waited_before = loader.wait_seconds();
    std::vector<Batch> batches;
    for (int64_t i = 0; i < config.train.accum; ++i) {
      batches.push_back(loader.next().to(device));
    }
    take_step(
        method, *optimizer, batches, [](double) { return 0.0; }, config.train, state);
    method.after_step({});
    const double now = log::monotonic_seconds();
    if (step == 0) continue;
    seconds.push_back(now - begun);
    waited += loader.wait_seconds() - waited_before;
    if (now - start > kMeasuredSeconds) break;
  }
  MeasuredStep out{.steps = std::ssize(seconds)};
  double total = 0;
  for (const double each : seconds) total += each;
  std::sort(seconds.begin(), seconds.end());
  out.seconds = seconds[seconds.size() / 2];
  out.data_share = total > 0 ? waited / total : 0;
  return out;
}

std::string short_number(double value, const char* format = "%.3g") {
  char text[32];
  std::snprintf(text, sizeof text, format, value);
  return text;
}
std::string millions(int64_t count) { return short_number(static_cast<double>(count) / 1e6, "%.2f") + " M"; }
std::string gigabytes(double bytes) { return short_number(bytes / 1e9, "%.2f") + " GB"; }

}  // namespace

ParameterCounts count_parameters(const Method& method) {
  ParameterCounts out;
  for (const auto& item : method.named_parameters()) {
    const std::string& name = item.key();
    const int64_t count = item.value().numel();
    const std::string part = name.substr(0, name.find('.'));
    out.total += count;
    if (item.value().requires_grad()) out.trainable += count;
    const bool encoder = !is_pretraining_only(name) && part != "ema";
    if (encoder) out.encoder += count;
    out.parts[part] += count;
  }
  return out;
}

DryRun dry_run(RunConfig& config, bool measure) {
  DryRun out;
  const auto device = choose_device(config.train.device);
  const auto dataset = settle_data(config);
  const auto method = config.make_method();
  load_init(*method, config);
  method->to(device);
  method->train();
  const data::Loader loader(dataset, make_transform(config, *method),
                            loader_config(config, config.train.batch_size, 0));
  out.plan = make_plan(config, dataset->size(), loader.batches_per_epoch(), /*world=*/1);
  out.rules = rules_used(config, out.plan);
  out.warnings = warnings(config, out.plan);
  config.train.warmup_epochs = out.plan.warmup_epochs;
  out.device = device.str();
  out.config = config.table.to_json();
  out.parameters = count_parameters(*method);
  out.memory = estimate_memory(*method, dataset, config, device);

  const double needed = out.memory.total() + out.memory.batches, room = free_host_memory();
  const bool fits = !device.is_cpu() || room == 0 || needed < kRoom * room;
  if (!fits)
    out.warnings.push_back(str("about ", gigabytes(needed), " are needed, ", gigabytes(room),
                               " are free; lower train.batch_size and raise train.accum"));
  if (!measure || !fits || out.plan.steps == 0) {
    out.not_measured = !measure ? "--no-measure" : !fits ? "it would not fit into memory" : "no steps";
    return out;
  }
  out.step = measure_steps(*method, dataset, config, device);
  return out;
}

Json DryRun::to_json() const {
  Json time = {{"seconds", nullptr}, {"why_not", not_measured}};
  if (step)
    time = {{"seconds", step->seconds * static_cast<double>(plan.steps)},
            {"seconds_a_step", step->seconds},
            {"items_per_s", static_cast<double>(plan.effective_batch) / step->seconds},
            {"data_share", step->data_share},
            {"measured_steps", step->steps}};
  return {{"config", config},
          {"device", device},
          {"records", plan.records},
          {"steps", plan.steps},
          {"steps_per_epoch", plan.steps_per_epoch},
          {"epochs", plan.epochs},
          {"effective_batch", plan.effective_batch},
          {"lr", plan.lr},
          {"parameters",
           {{"total", parameters.total},
            {"trainable", parameters.trainable},
            {"encoder", parameters.encoder},
            {"rest", parameters.total - parameters.encoder},
            {"parts", parameters.parts}}},
          {"memory_bytes",
           {{"total", memory.total()},
            {"weights", memory.weights},
            {"gradients", memory.gradients},
            {"optimizer", memory.optimizer},
            {"activations", memory.activations},
            {"batches", memory.batches},
            {"estimated_from_pictures", {memory.small, memory.large}}}},
          {"time", std::move(time)},
          {"rules", rules},
          {"warnings", warnings}};
}

std::string DryRun::to_text() const {
  std::ostringstream out;
  out << "parameters  " << millions(parameters.total) << ", " << millions(parameters.trainable)
      << " trained: encoder " << millions(parameters.encoder) << ", rest "
      << millions(parameters.total - parameters.encoder) << "\n";
  out << "memory      about " << gigabytes(memory.total()) << " on " << device << ": weights "
      << gigabytes(memory.weights) << ", gradients " << gigabytes(memory.gradients) << ", optimiser "
      << gigabytes(memory.optimizer) << ", activations " << gigabytes(memory.activations)
      << " (from passes of " << memory.small << " and " << memory.large << " records); batches held ready "
      << gigabytes(memory.batches) << "\n";
  out << "steps       " << plan.steps << ", " << plan.steps_per_epoch << " an epoch\n";
  if (step)
    out << "time        about " << log::duration(step->seconds * static_cast<double>(plan.steps)) << ": "
        << short_number(step->seconds) << " s a step, "
        << short_number(static_cast<double>(plan.effective_batch) / step->seconds) << " records/s, "
        << std::lround(100 * step->data_share) << " % of it waiting for data (median of " << step->steps
        << "; without health checks and checkpoints)\n";
  else
    out << "time        not measured: " << not_measured << "\n";
  for (const auto& rule : rules) out << "rule        " << rule << "\n";
  for (const auto& warning : warnings) out << "warning     " << warning << "\n";
  out << "nothing was written";
  return out.str();
}

}  // namespace lacuna::train
