#include "lacuna/train/trainer.h"

#include <torch/cuda.h>

#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/subset.h"
#include "lacuna/nn/batch_norm.h"
#include "lacuna/nn/gather.h"
#include "lacuna/train/infer.h"
#include "lacuna/train/modality.h"
#include "lacuna/train/schedule.h"
#include "lacuna/train/signals.h"

namespace lacuna::train {

namespace {

std::string rounded(double value, int digits = 3) {
  std::ostringstream out;
  out.precision(digits);
  out << value;
  return out.str();
}

io::Metadata weights_metadata(const RunConfig& config, int64_t step) {
  return {{"format", "pt"},
          {"lacuna.method", config.method},
          {"lacuna.config", config.to_toml()},
          {"lacuna.step", str(step)}};
}

// What weights without a config do not say, this run does.
std::vector<std::string> hints(const RunConfig& config) {
  std::vector<std::string> out;
  for (const char* key : {"encoder.num_heads", "data.mean", "data.std"})
    if (config.table.has(key)) out.push_back(str(key, "=", config.table.get(key).dump()));
  const bool swin = config.table.has("encoder.arch") &&
                    config.table.get("encoder.arch").get<std::string>().starts_with("swin");
  if (swin) out.push_back(str("encoder.img_size=", config.table.get("encoder.img_size").dump()));
  return out;
}

void save_batches(const io::fs::path& run, const std::vector<Batch>& batches, int64_t step,
                  const Processes* processes) {
  io::make_folder(run / "skipped");
  io::Tensors tensors;
  std::vector<std::string> keys;
  for (size_t i = 0; i < batches.size(); ++i) {
    for (const auto& [name, member] : Batch::inputs())
      if ((batches[i].*member).defined()) tensors[str(name, ".", i)] = batches[i].*member;
    tensors[str("label.", i)] = batches[i].label;
    tensors[str("sample.", i)] = torch::tensor(batches[i].sample);
    keys.insert(keys.end(), batches[i].key.begin(), batches[i].key.end());
  }
  char name[32];
  std::snprintf(name, sizeof name, "step-%08lld", static_cast<long long>(step));
  const std::string part = processes ? str(".process-", processes->rank()) : "";
  io::save_safetensors(run / "skipped" / (name + part + ".safetensors"), tensors,
                       {{"keys", join(keys, "\n")}});
}

// Moves whenever a buffer (running statistics, a queue, a teacher) is written to.
uint64_t buffer_version(const Method& method) {
  uint64_t sum = 0;
  for (const auto& buffer : method.buffers()) sum += static_cast<uint64_t>(buffer._version());
  return sum;
}

}  // namespace

torch::Device choose_device(const std::string& device) {
  const bool gpu = torch::cuda::is_available();
  if (device == "cuda" && !gpu)
    fail("train.device cuda", "no GPU is usable here", "use train.device = auto or cpu");
  return device != "cpu" && gpu ? torch::Device(torch::kCUDA) : torch::Device(torch::kCPU);
}

std::shared_ptr<data::Dataset> settle_data(RunConfig& config, std::shared_ptr<data::Dataset> dataset) {
  config.method_config->resolve(config.table);  // an impossible size is refused before any picture is read
  if (!dataset) dataset = data::open_dataset(config.data.uri, "train");
  if (config.data.label_share < 1)
    dataset = data::label_subset(std::move(dataset), config.data.label_share,
                                 static_cast<uint64_t>(config.train.seed));
  dataset = data::class_half(std::move(dataset), config.data.classes);
  if (config.data.shots > 0)
    dataset =
        data::few_shots(std::move(dataset), config.data.shots, static_cast<uint64_t>(config.train.seed));
  if (!reads(config.info().modality, dataset->modality()))
    fail(config.data.uri,
         str("holds ", dataset->modality(), ", and ", config.method, " is trained on ",
             config.info().modality),
         str("give other data, e.g. ", config.modality().default_data()));
  dataset = config.modality().settle(config, std::move(dataset));
  const auto classes = static_cast<int64_t>(dataset->classes().size());
  if (config.table.has("head.num_classes") && config.table.get("head.num_classes").get<int64_t>() == 0)
    config.table.set("head.num_classes", classes, "the data");
  config.resolve();
  return dataset;
}

std::shared_ptr<const data::Transform> make_transform(const RunConfig& config, const Method& method) {
  return config.modality().transform(config, method.input());
}

std::unique_ptr<Optimizer> make_optimizer(const Method& method, const TrainConfig& config) {
  auto groups = parameter_groups(method, config.weight_decay, config.layer_decay);
  if (config.optimizer == "lars") return make_lars(std::move(groups), config.momentum);
  if (config.optimizer == "sgd") return make_sgd(std::move(groups), config.momentum);
  return make_adamw(std::move(groups), config.betas[0], config.betas[1], config.eps);
}

namespace {

/// What the run began with, for its record: the file, and the names that it did not fill. Null without
/// train.init.
Json start_from(Method& method, const RunConfig& config) {
  if (config.train.init.empty()) return {};
  const auto weights = open_weights(config.train.init);
  const bool says_what_it_is = weights.metadata.count("lacuna.config") != 0;
  const auto source = says_what_it_is ? config_of(weights) : config_of(weights, hints(config));
  const auto skipped = load_into(method, weights, *source, config.train.init_partial);
  if (auto* ema = method.ema()) ema->restart();
  log::info(str("started from ", weights.origin));
  if (!skipped.empty()) log::warn(str(skipped.size(), " tensors not loaded: ", join(skipped)));
  return {{"weights", weights.origin}, {"not_loaded", skipped}};
}

}  // namespace

void load_init(Method& method, const RunConfig& config) { start_from(method, config); }

Trainer::Trainer(std::unique_ptr<RunConfig> config, const io::fs::path& run, bool resume,
                 Processes* processes, std::shared_ptr<data::Dataset> dataset)
    : processes_(processes),
      config_(std::move(config)),
      run_(run),
      device_(choose_device(config_->train.device)),
      dataset_(settle_data(*config_, std::move(dataset))),
      method_(config_->make_method()),
      step_state_(config_->train, config_->health.spike) {
  const auto& train = config_->train;
  method_->to(device_);
  method_->prepare_training();
  const auto transform = make_transform(*config_, *method_);
  loader_ = std::make_unique<data::Loader>(dataset_, transform,
                                           data::LoaderConfig{.batch_size = train.batch_size,
                                                              .workers = train.workers,
                                                              .prefetch = train.prefetch,
                                                              .seed = static_cast<uint64_t>(train.seed),
                                                              .rank = processes ? processes->rank() : 0,
                                                              .world = world(),
                                                              .max_bad = config_->data.max_bad});
  plan_ = make_plan(*config_, dataset_->size(), loader_->batches_per_epoch(), world());
  rules_ = rules_used(*config_, plan_);
  config_->train.warmup_epochs = plan_.warmup_epochs;  // config.toml holds what was used
  optimizer_ = make_optimizer(*method_, train);
  const bool first = !processes || processes->first();
  if (first) monitor_ = std::make_unique<Monitor>(*config_, dataset_, *transform, device_);
  const auto checkpoint = resume ? newest_checkpoint(run) : std::nullopt;
  const Json init = checkpoint ? Json() : start_from(*method_, *config_);
  if (train.ema_decay > 0) {
    if (method_->ema())
      fail("train.ema_decay", str(config_->method, " averages its weights by itself, in its teacher"),
           "leave it out; eval.weights=ema chooses the teacher");
    average_ = std::make_unique<nn::Ema>(method_->weights());
  }
  if (processes)
    processes->require_same(str(config_->to_toml(), dataset_->size()), "several processes",
                            "they were started with other settings, or see other data",
                            "start all of them with one command line, on one file system");
  if (first) folder_ = std::make_unique<RunFolder>(run, resume);
  if (!resume) {
    if (first) folder_->write_config(config_->to_toml());
  } else if (checkpoint) {
    resume_from(*checkpoint);
  } else if (first) {
    log::warn(run.string() + " holds no checkpoint yet: starting from step 0");
    folder_->rewind_metrics(-1);
  }
  if (first && !init.is_null()) folder_->log({{"step", 0}, {"init", init}});
  position_ = loader_->position();
  if (processes) start_together();
}

nn::Ema* Trainer::average() const { return average_ ? average_.get() : method_->ema(); }

int64_t Trainer::world() const { return processes_ ? processes_->world() : 1; }

// Weights are sent though all have drawn or read them: their last bits depend on the machine.
void Trainer::start_together() {
  processes_->require_same(str(step_), run_.string(), "the processes found other checkpoints there",
                           "put --out on a file system that all of them see");
  processes_->broadcast(method_->weights());
  if (const auto* ema = average()) processes_->broadcast(ema->average());
  const auto sum = [this](const Tensor& part) { return processes_->sum(part); };
  nn::synchronize_batch_norms(*method_, sum);
  nn::connect_gathers(*method_, processes_->rank(), processes_->world(), sum);
  std::vector<Tensor> parameters;
  for (const auto& group : optimizer_->groups())
    parameters.insert(parameters.end(), group.params.begin(), group.params.end());
  averager_ = std::make_unique<GradientAverager>(*processes_, parameters, config_->info().unused_parameters);
}

void Trainer::resume_from(const Checkpoint& checkpoint) {
  const std::string origin = (run_ / "checkpoints").string();
  load_weights(*method_, checkpoint.model, origin);
  optimizer_->load_state(checkpoint.trainer, origin);
  resume_average(checkpoint);
  const auto& state = checkpoint.state;
  step_ = checkpoint.step;
  skipped_ = state.at("skipped").get<int64_t>();
  skipped_in_row_ = state.at("skipped_in_row").get<int64_t>();
  loss_sum_ = state.at("loss_sum").get<double>();
  loss_count_ = state.at("loss_count").get<int64_t>();
  step_state_.spikes.load(state.at("norms"));
  if (state.contains("loss_scale")) step_state_.scaler.load(state.at("loss_scale"));
  overflows_ = state.value("overflows", int64_t{0});
  for (const auto& check : state.at("health")) health_.push_back(health_from_json(check));
  bad_records_ = state.at("bad_records").get<std::set<int64_t>>();
  loader_->set_bad_records(bad_records_);
  seek(checkpoint);
  saved_step_ = step_;
  if (folder_) folder_->rewind_metrics(step_);
  if (folder_ && best_step(health_) == step_) mark_best(run_, step_);  // killed between checkpoint and link
  verdict_ = judge(health_);
  log::info(str("resumed at step ", step_, " of ", plan_.steps));
}

void Trainer::resume_average(const Checkpoint& checkpoint) {
  auto* ema = average();
  if (ema == nullptr) return;
  if (!checkpoint.ema.empty()) {
    nn::load_weights(ema->average(), checkpoint.ema, (run_ / "checkpoints").string());
    return;
  }
  ema->restart();
  log::warn("the checkpoint holds no moving average of its weights: it begins here");
}

// A position counts batches of all processes together. Other batches than the checkpoint's: the nearest whole
// one.
void Trainer::seek(const Checkpoint& checkpoint) {
  auto position = checkpoint.position;
  const int64_t now = global_batch(), then = checkpoint.state.value("global_batch", now);
  const int64_t effective = checkpoint.state.value("effective_batch", plan_.effective_batch);
  const int64_t records = position.batch * then;
  position.batch = std::min((records + now / 2) / now, loader_->batches_per_epoch());
  if (effective != plan_.effective_batch)
    log::warn(str("steps of ", plan_.effective_batch, " records, where the run had ", effective,
                  ": it continues ", "with step ", step_ + 1,
                  ", but its losses and learning rates are no longer those of one run"));
  if (position.batch * now != records)
    log::warn(str("epoch ", position.epoch, " goes on after record ", position.batch * now, ", not ", records,
                  ": the nearest whole batch of ", now));
  loader_->seek(position);
}

void Trainer::begin() {
  for (const auto& rule : rules_) log::info(rule);
  if (folder_)
    for (const auto& warning : warnings(*config_, plan_)) log::warn(warning);
  clock_ = health_clock_ = saved_at_ = log::monotonic_seconds();
  if (step_ > 0) return;
  method_->before_step(progress());
  show_preview();
  check_health();
  if (plan_.steps == 0) save();
}

void Trainer::run() {
  const SignalGuard signals;
  method_->train();
  begin();
  log::Progress progress("train");
  while (step_ < plan_.steps) {
    buffer_version_ = buffer_version(*method_);
    try {
      step_once();
    } catch (const LostProcesses& lost) {
      rescue(lost);
    }
    progress.update(step_, plan_.steps, str("loss ", rounded(shown_loss_, 4)));
    if (processes_ ? stop_ : SignalGuard::requested()) {
      save();
      throw Interrupted(str("stopped at step ", step_, " of ", plan_.steps, "; --resume continues"));
    }
  }
}

// The others are gone in the middle of a step: this process still holds the weights of the last whole one.
void Trainer::rescue(const LostProcesses& lost) {
  const bool whole = device_.is_cpu() && buffer_version(*method_) == buffer_version_;
  if (whole) save();
  const std::string kept = saved_step_ < 0
                               ? "there is no checkpoint yet: start all of them again"
                               : str("start all of them again with --resume: the checkpoint of step ",
                                     saved_step_, " is in ", run_.string(), "/checkpoints");
  throw LostProcesses(lost.subject(), lost.why(), folder_ ? kept : lost.remedy());
}

std::vector<Batch> Trainer::next_batches() {
  std::vector<Batch> batches;
  for (int64_t i = 0; i < config_->train.accum; ++i) {
    batches.push_back(next_batch().to(device_));
  }
  return batches;
}

// Data that can no longer be read end the run, but not what it has learnt.
Batch Trainer::next_batch() {
  try {
    auto batch = loader_->next();
    if (loader_->bad_records().size() != bad_records_.size()) bad_records_ = loader_->bad_records();
    return batch;
  } catch (const Error& error) {
    if (step_ == 0 || !folder_) throw;
    save();
    fail(error.subject(), error.why(),
         str(error.remedy(), "; the run is kept as of step ", step_, ": --resume continues"));
  }
}

void Trainer::step_once() {
  const Rate rate = [&, step = step_](double lr_scale) {
    return learning_rate(config_->train, plan_, step, lr_scale);
  };
  const double lr = rate(1);
  const auto batches = next_batches();
  method_->before_step(progress());
  optimizer_->set_weight_decay(weight_decay_at(config_->train, plan_, step_));
  auto train = config_->train;
  const auto warmup = plan_.warmup_epochs * static_cast<double>(plan_.steps_per_epoch);
  if (train.clip_after_warmup && static_cast<double>(step_) < warmup) train.clip_grad = 0;
  const auto result = take_step(*method_, *optimizer_, batches, rate, train, step_state_, averager_.get());
  ++step_;
  position_ = loader_->position();
  stop_ = result.stop;
  if (result.rescaled)
    note_overflow();
  else if (result.problem.empty())
    after_step(result, batches, lr);
  else
    skip_step(result, batches);

  const bool last = step_ == plan_.steps;
  if (step_ % plan_.preview_every == 0 || last) show_preview();
  if (step_ % plan_.health_every == 0 || last) check_health();
  const double minutes = (log::monotonic_seconds() - saved_at_) / 60;
  const bool due = config_->train.checkpoint_minutes > 0 && minutes >= config_->train.checkpoint_minutes;
  if (step_ % plan_.checkpoint_every == 0 || last || due) save();
}

void Trainer::after_step(const StepResult& result, const std::vector<Batch>& batches, double lr) {
  skipped_in_row_ = 0;
  loss_sum_ += result.loss;
  ++loss_count_;
  shown_loss_ = std::isfinite(shown_loss_) ? 0.95 * shown_loss_ + 0.05 * result.loss : result.loss;
  for (const auto& batch : batches) items_ += static_cast<double>(batch.size() * world());
  method_->after_step(progress());
  if (average_) average_->update(average_decay());
  if (step_ % config_->train.log_every == 0 || step_ == 1 || step_ == plan_.steps)
    log_step(result, lr, plan_.effective_batch);
}

double Trainer::average_decay() const {
  const auto& train = config_->train;
  if (step_ <= train.ema_start) return 0;  // a plain copy
  return train.ema_warmup ? nn::ema_warmup(train.ema_decay, step_) : train.ema_decay;
}

Progress Trainer::progress() const {
  const double per_epoch = static_cast<double>(plan_.steps_per_epoch);
  return {step_, plan_.steps, static_cast<double>(step_) / per_epoch, plan_.epochs};
}

void Trainer::log_step(const StepResult& result, double lr, int64_t items) {
  if (!folder_) return;
  const double now = log::monotonic_seconds(), seconds = std::max(now - clock_, 1e-9);
  const double waited = loader_->wait_seconds() - wait_;
  Json line = {{"step", step_},
               {"epoch", static_cast<double>(step_) / static_cast<double>(plan_.steps_per_epoch)},
               {"loss", result.loss},
               {"lr", lr},
               {"grad_norm", result.grad_norm},
               {"items", items},
               {"items_per_s", items_ / seconds},
               {"data_wait_s", waited},
               {"data_wait", std::min(1.0, waited / seconds)},
               {"skipped", skipped_},
               {"bad_records", loader_->bad_records().size()}};
  if (config_->train.precision == "fp16") line["loss_scale"] = step_state_.scaler.scale();
  for (const auto& [name, value] : result.parts) line["loss." + name] = value;
  for (const auto& [name, value] : result.stats) line[name] = value;
  folder_->log(line);
  clock_ = now;
  wait_ += waited;
  items_ = 0;
}

// Not a fault: fp16 finds its scale by trying.
void Trainer::note_overflow() {
  ++overflows_;
  if (!folder_) return;
  folder_->log({{"step", step_},
                {"event", "overflow"},
                {"loss_scale", step_state_.scaler.scale()},
                {"overflows", overflows_}});
}

void Trainer::skip_step(const StepResult& result, const std::vector<Batch>& batches) {
  ++skipped_;
  ++skipped_in_row_;
  save_batches(run_, batches, step_, processes_);
  if (folder_) {
    folder_->log({{"step", step_}, {"event", "skipped"}, {"why", result.problem}, {"skipped", skipped_}});
    log::warn(str("step ", step_, " not applied: ", result.problem, "; its batch is in ", run_.string(),
                  "/skipped"));
  }
  if (skipped_in_row_ < config_->health.max_skipped) return;
  save();
  if (processes_) processes_->barrier();  // all of them end here, once the checkpoint is written
  fail(str("step ", step_), str(result.problem, ", ", skipped_in_row_, " steps in a row"),
       str("the weights are those of the last good step, kept in ", run_.string(),
           "/checkpoints; lower train.lr, set train.clip_grad or use train.precision = fp32"));
}

void Trainer::check_health() {
  if (!monitor_) return;
  auto health = monitor_->check(*method_, step_);
  const double now = log::monotonic_seconds();
  health.loss = loss_count_ ? loss_sum_ / static_cast<double>(loss_count_) : NAN;
  health.data_wait =
      step_ == 0
          ? 0
          : std::min(1.0, (loader_->wait_seconds() - health_wait_) / std::max(now - health_clock_, 1e-9));
  health_.push_back(health);
  verdict_ = judge(health_);
  log::info(str("step ", step_, ": ", health_line(health, verdict_)));
  Json line = {{"step", step_},
               {"health.rank", health.spread.effective_rank},
               {"health.deviation", health.spread.deviation},
               {"health.data_wait", health.data_wait},
               {"health.verdict", verdict_.text}};
  if (health.has_skill)
    line["health.skill_mean"] = health.skill.over_mean, line["health.skill_blur"] = health.skill.over_blur;
  if (monitor_->labelled()) line["health.knn"] = health.knn, line["health.knn_chance"] = health.knn_chance;
  folder_->log(line);
  loss_sum_ = 0, loss_count_ = 0;
  health_wait_ = loader_->wait_seconds();

  if (best_step(health_) == step_) {
    save();
    mark_best(run_, step_);
  }
  health_clock_ = log::monotonic_seconds();
}

void Trainer::show_preview() {
  if (!folder_) return;
  folder_->save_preview(monitor_->panel(*method_), step_);
  const auto moving = monitor_->animation(*method_);
  if (moving.frames.defined()) folder_->save_animation(moving.frames, moving.rate, step_);
}

int64_t Trainer::global_batch() const { return config_->train.batch_size * world(); }

void Trainer::save() {
  saved_at_ = log::monotonic_seconds();
  if (!folder_ || saved_step_ == step_) return;
  Checkpoint checkpoint{.step = step_,
                        .position = position_,
                        .model = method_->weights(),
                        .ema = average() ? average()->average() : io::Tensors{},
                        .trainer = optimizer_->state(),
                        .metadata = weights_metadata(*config_, step_)};
  Json checks = Json::array();
  for (const auto& health : health_) checks.push_back(to_json(health));
  checkpoint.state = {{"skipped", skipped_},
                      {"skipped_in_row", skipped_in_row_},
                      {"loss_sum", loss_sum_},
                      {"loss_count", loss_count_},
                      {"norms", step_state_.spikes.to_json()},
                      {"overflows", overflows_},
                      {"loss_scale", step_state_.scaler.to_json()},
                      {"health", std::move(checks)},
                      {"bad_records", bad_records_},
                      {"global_batch", global_batch()},
                      {"effective_batch", plan_.effective_batch},
                      {"data", dataset_->uri()},
                      {"records", dataset_->size()},
                      {"finished", step_ == plan_.steps}};
  save_checkpoint(run_, checkpoint);
  saved_step_ = step_;
  prune_checkpoints(run_, config_->train.keep);
}

}  // namespace lacuna::train
