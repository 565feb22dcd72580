// What SALT's student needs before its training: a teacher. RUN/stage-1 is a run of its own, where no teacher
// is given; RUN/teacher.safetensors holds the encoder that the student learns from.

#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/method/salt.h"
#include "lacuna/train/infer.h"
#include "lacuna/train/names.h"
#include "lacuna/train/preparation.h"
#include "lacuna/train/signals.h"

namespace lacuna::train {
namespace {

namespace fs = io::fs;

constexpr const char* kEncoder = "encoder.";
// The teacher's size, by the keys that a config of either knows.
const char* const kSizeKeys[] = {"arch",     "embed_dim", "depth",    "num_heads",    "mlp_ratio",
                                 "qkv_bias", "norm_eps",  "use_rope", "uniform_power"};

const SALTConfig& keys_of(const RunConfig& config) {
  return dynamic_cast<const SALTConfig&>(*config.method_config);
}

/// Steps and epochs of both stages, divided; only one of the two counts.
struct Budget {
  int64_t steps = -1;
  double epochs = 0;
};

Budget first_stage(const RunConfig& config) {
  const auto& [train, teacher] = std::tie(config.train, keys_of(config).teacher);
  if (train.steps < 0) {
    if (teacher.steps > 0)
      fail("teacher.steps", "is given, but the run is measured in epochs",
           "give train.steps, or teacher.share");
    return {-1, teacher.share * train.epochs};
  }
  if (train.steps == 0) return {0, 0};
  const int64_t steps =
      teacher.steps > 0 ? teacher.steps : std::llround(teacher.share * static_cast<double>(train.steps));
  if (steps < 1 || steps >= train.steps)
    fail(str("teacher.steps ", steps),
         str("leaves no step of train.steps ", train.steps, " to one of the stages"),
         "train.steps counts both stages");
  return {steps, 0};
}

/// The same run, of stage 1, with the teacher's size.
std::unique_ptr<RunConfig> teacher_run(const RunConfig& config, const Budget& budget) {
  auto first = RunConfig::from_toml(parse_toml(chosen_toml(config), "the run's config"), "the run's config");
  auto& table = first->table;
  const std::string origin = "stage 1";
  for (const char* key : kSizeKeys)
    table.set(str("encoder.", key), config.table.get(str("teacher.", key)), origin);
  table.set("stage", 1, origin);
  table.set("train.init", "", origin);
  table.set("train.steps", budget.steps, origin);
  if (budget.steps < 0) table.set("train.epochs", budget.epochs, origin);
  return first;
}

/// The teacher's weights without a prefix.
io::Tensors encoder_weights(const Weights& weights) {
  io::Tensors out;
  for (const auto& [name, tensor] : with_encoder_prefix(weights.tensors))
    if (name.starts_with(kEncoder)) out[name.substr(std::string(kEncoder).size())] = tensor;
  return out;
}

/// Refuses a teacher whose tokens are not the student's.
void require_same_tokens(const nn::VideoViTConfig& teacher, const nn::VideoViTConfig& student,
                         const std::string& origin) {
  const auto differs = [&](const char* what, const auto& theirs, const auto& ours) {
    if (theirs != ours)
      fail(str("teacher.init ", origin), str("its ", what, " is ", theirs, ", the student's ", ours),
           str("set encoder.", what, " as it is there"));
  };
  differs("patch_size", teacher.patch_size, student.patch_size);
  differs("tubelet_size", teacher.tubelet_size, student.tubelet_size);
  differs("in_chans", teacher.in_chans, student.in_chans);
  if (teacher.use_rope) return;  // rotary positions fit any grid
  differs("img_size", teacher.img_size, student.img_size);
  differs("num_frames", teacher.num_frames, student.num_frames);
}

void use_teacher(RunConfig& config, const std::string& init, const fs::path& file, Processes* processes) {
  const auto weights = open_weights(init);
  const auto source = config_of(weights);
  source->resolve();
  if (source->info().modality != "video" || source->method != config.method)
    fail(str("teacher.init ", init), str("are weights of ", source->method, ", which reads no films"),
         "give an encoder of films: a run of salt, or weights under V-JEPA's names");
  auto& table = config.table;
  for (const char* key : kSizeKeys)
    table.set(str("teacher.", key), source->table.get(str("encoder.", key)), init);
  // A named size would undo widths that differ from it.
  table.set("teacher.arch", "vit", init);
  if (!table.is_set("encoder.in_chans"))
    table.set("encoder.in_chans", source->table.get("encoder.in_chans"), init);
  // The teacher must see what it saw when it learnt.
  for (const char* key : {"data.mean", "data.std"}) {
    if (!table.is_set(key)) table.set(key, source->table.get(key), init);
    if (table.get(key) != source->table.get(key))
      log::warn(str(key, " is not what the teacher was trained with: ", source->table.get(key).dump()));
  }
  require_same_tokens(keys_of(*source).encoder, keys_of(config).encoder, init);
  const auto path = fs::absolute(file).lexically_normal();
  if ((!processes || processes->first()) && !fs::exists(path))
    io::save_safetensors(path, encoder_weights(weights), {{"format", "pt"}, {"lacuna.from", weights.origin}});
  if (processes) processes->barrier();
  table.set("teacher.weights", path.string(), init);
}

void prepare_salt(RunConfig& config, const fs::path& run, Processes* processes) {
  config.method_config->resolve(config.table);
  if (!keys_of(config).frozen_teacher() || !keys_of(config).teacher.weights.empty()) return;
  const SignalGuard signals;
  std::string init = keys_of(config).teacher.init;
  if (init.empty()) {
    const auto budget = first_stage(config);
    const auto first = fs::absolute(run / "stage-1").lexically_normal();
    train_before(
        first, "stage 1: a teacher, by pixels", [&] { return teacher_run(config, budget); }, processes);
    if (config.train.steps >= 0)
      config.table.set("train.steps", config.train.steps - budget.steps, "stage 2");
    else
      config.table.set("train.epochs", config.train.epochs - budget.epochs, "stage 2");
    init = first.string();
  }
  use_teacher(config, init, run / "teacher.safetensors", processes);
  log::info(str("stage 2: a student, by the features of ", init));
}

const Register<Preparation> registered{"salt", {prepare_salt}};

}  // namespace
}  // namespace lacuna::train
