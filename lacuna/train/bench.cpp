#include "lacuna/train/bench.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <fstream>

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/loader.h"
#include "lacuna/train/modality.h"
#include "lacuna/train/trainer.h"

namespace lacuna::train {

namespace {

template <class Work>
Timing repeat(const BenchOptions& options, Work work) {
  Timing timing;
  for (int64_t i = 0; i < options.warmup + options.runs; ++i) {
    const double begun = log::monotonic_seconds();
    work();
    if (i >= options.warmup) timing.seconds.push_back(log::monotonic_seconds() - begun);
  }
  return timing;
}

/// Of the process on a CPU; of what tensors held on a GPU.
double peak_memory_mib(torch::Device device) {
  if (!device.is_cpu()) {
    const auto stats =
        c10::getDeviceAllocator(device.type())->getDeviceStats(device.has_index() ? device.index() : 0);
    constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    return static_cast<double>(stats.allocated_bytes[kAll].peak) / (1 << 20);
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

Batch random_batch(const RunConfig& config, const Method& method, torch::Device device) {
  const int64_t B = config.train.batch_size;
  SeededDraws draws(static_cast<uint64_t>(config.train.seed));
  Batch batch = config.modality().noise(config, method.input(), B, draws).to(device);
  const bool labelled = config.table.has("head.num_classes");
  const int64_t classes = labelled ? config.table.get("head.num_classes").get<int64_t>() : 1;
  batch.label = torch::arange(B).remainder(classes);
  for (int64_t i = 0; i < B; ++i) {
    batch.sample.push_back(i);
    batch.key.push_back(str("record ", i));
  }
  return batch;
}

Json settings_of(const RunConfig& config) {
  Json out = {{"method", config.method},
              {"batch_size", config.train.batch_size},
              {"precision", config.train.precision},
              {"threads", at::get_num_threads()}};
  for (const char* key : {"arch", "img_size"})
    if (const auto full = str("encoder.", key); config.table.has(full))
      out[std::string(key) == "arch" ? "encoder" : key] = config.table.get(full);
  return out;
}

/// Starts `program` with `arguments`, its output thrown away.
pid_t start_quietly(const std::string& program, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), program);
  std::vector<char*> argv;
  for (auto& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    const int nowhere = ::open("/dev/null", O_WRONLY);
    dup2(nowhere, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
    execv(program.c_str(), argv.data());
    _exit(127);
  }
  if (child < 0) fail("bench startup", "no process can be started", "close some programs");
  return child;
}

/// Whether `run` has logged a step: its lines, and no others, tell a gradient norm.
bool has_logged_a_step(const io::fs::path& run) {
  std::ifstream metrics(run / "metrics.jsonl");
  for (std::string line; std::getline(metrics, line);)
    if (line.find("\"grad_norm\"") != std::string::npos) return true;
  return false;
}

/// Seconds from a process's start to its first logged step, and to its end. Error when it fails.
std::pair<double, double> time_one_step(const std::string& program, const std::string& recipe,
                                        const io::fs::path& run) {
  constexpr useconds_t kPoll = 2000;  // microseconds
  const double begun = log::monotonic_seconds();
  const pid_t child = start_quietly(program, {"pretrain", recipe, "--out", run.string()});
  double first = 0;
  int status = 0;
  pid_t ended = 0;
  for (; ended == 0; ended = waitpid(child, &status, WNOHANG)) {
    if (first == 0 && has_logged_a_step(run)) first = log::monotonic_seconds() - begun;
    usleep(kPoll);
  }
  const double last = log::monotonic_seconds() - begun;
  if (ended != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
    fail("bench startup", str(program, " did not end well"), "try `lacuna pretrain` with the same settings");
  return {first == 0 ? last : first, last};
}

/// The kernel forgets what it keeps of files.
void forget_files() {
  sync();
  std::ofstream caches("/proc/sys/vm/drop_caches");
  caches << "3" << std::flush;
  if (!caches) fail("bench startup --cold", "the kernel's caches can't be dropped", "run it as root");
}

}  // namespace

double Timing::quantile(double share) const {
  auto sorted = seconds;
  std::sort(sorted.begin(), sorted.end());
  const double at = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(at), above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (at - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

double Timing::median() const { return quantile(0.5); }

Json Timing::to_json() const {
  return {{"median", median()}, {"p10", quantile(0.1)}, {"p90", quantile(0.9)}, {"runs", seconds.size()}};
}

Json bench_step(RunConfig& config, const BenchOptions& options) {
  const auto device = choose_device(config.train.device);
  if (config.table.has("head.num_classes") && config.table.get("head.num_classes") == 0)
    config.table.set("head.num_classes", 1000, "bench");
  config.resolve();
  const auto method = config.make_method();
  method->to(device);
  method->train();
  const auto optimizer = make_optimizer(*method, config.train);
  StepState state(config.train);
  const std::vector<Batch> batches(static_cast<size_t>(config.train.accum),
                                   random_batch(config, *method, device));
  const auto timing = repeat(options, [&] {
    const auto result = take_step(*method, *optimizer, batches, scaled_rate(1e-5), config.train, state);
    if (!result.problem.empty()) fail("bench step", result.problem, "lower train.lr or use fp32");
    method->after_step({});
  });
  Json out = settings_of(config);
  const auto items = static_cast<double>(config.train.batch_size * config.train.accum);
  out.update({{"what", "step"},
              {"step_s", timing.to_json()},
              {"items_per_s", items / timing.median()},
              {"peak_memory_mib", peak_memory_mib(device)}});
  return out;
}

Json bench_data(RunConfig& config, const BenchOptions& options) {
  const auto dataset = settle_data(config);
  const auto method = config.make_method();
  data::Loader loader(dataset, make_transform(config, *method),
                      {.batch_size = config.train.batch_size,
                       .workers = config.train.workers,
                       .prefetch = config.train.prefetch,
                       .seed = static_cast<uint64_t>(config.train.seed),
                       .max_bad = config.data.max_bad});
  const auto cpu_seconds = [] { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; };
  double begun = 0;
  int64_t number = 0;
  const auto timing = repeat(options, [&] {
    if (number++ == options.warmup) begun = cpu_seconds();
    loader.next();
  });
  const double spent = cpu_seconds() - begun;
  Json out = settings_of(config);
  // What lay ready when the clock started came for nothing: over the sum, not the median, it hardly counts.
  double total = 0;
  for (const double seconds : timing.seconds) total += seconds;
  const auto items = static_cast<double>(config.train.batch_size * options.runs);
  out.update({{"what", "data"},
              {"data", dataset->uri()},
              {"workers", config.train.workers},
              {"batch_s", timing.to_json()},
              {"items_per_s", items / total},
              {"items_per_cpu_s", items / spent}});  // what one core makes, whoever else uses the machine
  return out;
}

Json bench_startup(const std::string& program, RunConfig& config, const BenchOptions& options) {
  config.table.set("train.steps", 1, "bench");
  const auto folder = io::fs::temp_directory_path() / str("lacuna-bench-", getpid());
  const auto recipe = (folder / "recipe.toml").string();
  io::make_folder(folder);
  io::write_atomically(recipe, config.to_toml());
  Timing first, whole;
  for (int64_t i = 0; i < options.warmup + options.runs; ++i) {
    if (options.cold) forget_files();
    const auto [step, end] = time_one_step(program, recipe, folder / str("run-", i));
    if (i < options.warmup) continue;
    first.seconds.push_back(step), whole.seconds.push_back(end);
  }
  io::fs::remove_all(folder);
  Json out = settings_of(config);
  out.update({{"what", "startup"},
              {"cold", options.cold},
              {"first_step_s", first.to_json()},
              {"startup_s", whole.to_json()}});
  return out;
}

std::string bench_text(const Json& result) {
  std::string out = str(result["what"].get<std::string>(), ": ", result["method"].get<std::string>());
  for (const auto& [key, value] : result.items()) {
    if (key == "what" || key == "method") continue;
    out += "\n  " + key + " ";
    if (value.is_object())
      out += str(value["median"], " (10 to 90 %: ", value["p10"], " to ", value["p90"], ", ", value["runs"],
                 " runs)");
    else
      out += value.is_string() ? value.get<std::string>() : value.dump();
  }
  return out;
}

}  // namespace lacuna::train
