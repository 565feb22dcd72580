#include "lacuna/train/checkpoint.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"

namespace lacuna::train {

namespace {

namespace fs = io::fs;

constexpr int kFormat = 1;
constexpr const char* kModel = "model.safetensors";
constexpr const char* kEma = "ema.safetensors";
constexpr const char* kTrainer = "trainer.safetensors";
constexpr const char* kState = "state.json";
constexpr const char* kPrefix = "step-";
constexpr const char* kDoomed = ".pruned-";

fs::path folder_of_checkpoints(const fs::path& run) { return run / "checkpoints"; }

std::string folder_name(int64_t step) {
  char name[32];
  std::snprintf(name, sizeof name, "%s%08lld", kPrefix, static_cast<long long>(step));
  return name;
}

/// The step in a folder's name, or nullopt when it is no checkpoint's.
std::optional<int64_t> step_of(const std::string& name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const std::string_view digits = std::string_view(name).substr(std::string_view(kPrefix).size());
  int64_t step = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), step);
  if (error != std::errc() || end != digits.data() + digits.size() || step < 0) return std::nullopt;
  return step;
}

[[noreturn]] void fail_broken(const fs::path& path, const std::string& why) {
  fail(path.string(), why, "use an older checkpoint, or copy this one again");
}

Json read_state(const fs::path& folder) {
  const fs::path path = folder / kState;
  const Json state = Json::parse(io::read_file(path), nullptr, /*allow_exceptions=*/false);
  if (!state.is_object()) fail_broken(path, "is cut short or no JSON");
  const auto number = [&](const Json::json_pointer& key) {
    if (!state.contains(key) || !state.at(key).is_number_integer())
      fail_broken(path, str("has no number at ", key.to_string()));
    return state.at(key).get<int64_t>();
  };
  const int64_t format = number(Json::json_pointer("/format"));
  if (format != kFormat)
    fail(path.string(), str("is of checkpoint format ", format, ", this program reads ", kFormat),
         "use the version of lacuna that wrote it");
  for (const char* key : {"/step", "/position/epoch", "/position/batch"}) number(Json::json_pointer(key));
  return state;
}

/// Reads headers and the state but no tensor: cheap, and enough to find what was cut short.
void check_checkpoint(const fs::path& folder) {
  read_state(folder);
  const io::SafetensorsFile model(folder / kModel), trainer(folder / kTrainer);
  if (fs::exists(folder / kEma)) const io::SafetensorsFile ema(folder / kEma);
}

/// Why a checkpoint can't be used; nullopt when it is whole.
std::optional<std::string> problem_of(const fs::path& folder) {
  try {
    check_checkpoint(folder);
    return std::nullopt;
  } catch (const Error& error) {
    return error.what();
  }
}

std::optional<fs::path> newest_whole(const fs::path& run) {
  auto folders = list_checkpoints(run);
  for (; !folders.empty(); folders.pop_back()) {
    const auto problem = problem_of(folders.back());
    if (!problem) return folders.back();
    log::warn("broken checkpoint passed over: " + *problem);
  }
  return std::nullopt;
}

/// What a killed process left half-deleted.
void remove_leftovers(const fs::path& checkpoints) {
  std::vector<fs::path> leftovers;
  for (const auto& entry : fs::directory_iterator(checkpoints))
    if (entry.path().filename().string().starts_with(kDoomed)) leftovers.push_back(entry.path());
  for (const auto& leftover : leftovers) fs::remove_all(leftover);
}

/// Renamed first, so that what a killed process left half-deleted is never taken for a checkpoint.
void remove_checkpoint(const fs::path& folder) {
  const fs::path doomed = folder.parent_path() / (kDoomed + folder.filename().string());
  fs::rename(folder, doomed);
  fs::remove_all(doomed);
}

Weights read_weights(const fs::path& path) {
  const io::SafetensorsFile file(path);
  return {file.tensors(), file.metadata(), path.string()};
}

Weights read_chosen(const fs::path& checkpoint, bool ema) {
  if (ema && !fs::exists(checkpoint / kEma))
    fail(checkpoint.string(), "keeps no moving average of its weights",
         "use eval.weights=model, or train with train.ema_decay=0.9999");
  return read_weights(checkpoint / (ema ? kEma : kModel));
}

/// PyTorch's own files are pickles: reading one runs whatever code it holds.
bool is_pickle(const fs::path& path) {
  constexpr std::array kEndings{".pth", ".pt", ".bin", ".ckpt", ".pkl", ".tar"};
  return std::find(kEndings.begin(), kEndings.end(), path.extension()) != kEndings.end();
}

}  // namespace

void save_checkpoint(const fs::path& run, const Checkpoint& checkpoint) {
  Json state = checkpoint.state.is_null() ? Json::object() : checkpoint.state;
  state["format"] = kFormat;
  state["step"] = checkpoint.step;
  state["position"] = {{"epoch", checkpoint.position.epoch}, {"batch", checkpoint.position.batch}};
  io::make_folder(folder_of_checkpoints(run));
  io::write_folder_atomically(folder_of_checkpoints(run) / folder_name(checkpoint.step),
                              [&](const fs::path& folder) {
                                io::save_safetensors(folder / kModel, checkpoint.model, checkpoint.metadata);
                                if (!checkpoint.ema.empty())
                                  io::save_safetensors(folder / kEma, checkpoint.ema, checkpoint.metadata);
                                io::save_safetensors(folder / kTrainer, checkpoint.trainer);
                                io::write_atomically(folder / kState, state.dump(1) + "\n");
                              });
}

Checkpoint load_checkpoint(const fs::path& folder) {
  if (!fs::is_directory(folder)) fail(folder.string(), "no checkpoint there", "check the path");
  Checkpoint checkpoint;
  checkpoint.state = read_state(folder);
  checkpoint.step = checkpoint.state["step"];
  checkpoint.position = {checkpoint.state["position"]["epoch"], checkpoint.state["position"]["batch"]};
  const io::SafetensorsFile model(folder / kModel);
  checkpoint.model = model.tensors();
  checkpoint.metadata = model.metadata();
  if (fs::exists(folder / kEma)) checkpoint.ema = io::load_safetensors(folder / kEma);
  checkpoint.trainer = io::load_safetensors(folder / kTrainer);
  return checkpoint;
}

std::vector<fs::path> list_checkpoints(const fs::path& run) {
  std::vector<std::pair<int64_t, fs::path>> found;
  std::error_code absent;
  for (const auto& entry : fs::directory_iterator(folder_of_checkpoints(run), absent)) {
    const auto step = step_of(entry.path().filename().string());
    if (step && entry.is_directory()) found.emplace_back(*step, entry.path());
  }
  std::sort(found.begin(), found.end());
  std::vector<fs::path> out;
  for (auto& [step, path] : found) out.push_back(std::move(path));
  return out;
}

std::optional<Checkpoint> newest_checkpoint(const fs::path& run) {
  const auto folder = newest_whole(run);
  if (!folder) return std::nullopt;
  return load_checkpoint(*folder);
}

void prune_checkpoints(const fs::path& run, int64_t keep) try {
  auto folders = list_checkpoints(run);
  if (folders.empty()) return;
  remove_leftovers(folder_of_checkpoints(run));
  const auto best = best_checkpoint(run);
  int64_t kept = 0;
  for (; !folders.empty(); folders.pop_back()) {
    const fs::path& folder = folders.back();
    if (problem_of(folder)) continue;
    const bool is_best = best && folder.filename() == best->filename();
    if (kept++ >= std::max<int64_t>(keep, 1) && !is_best) remove_checkpoint(folder);
  }
} catch (const fs::filesystem_error& error) {
  fail(error.path1().string(), "can't be removed: " + error.code().message(),
       "check the folder's permissions");
}

void mark_best(const fs::path& run, int64_t step) {
  const fs::path checkpoints = folder_of_checkpoints(run), link = checkpoints / "best";
  LACUNA_ASSERT(fs::is_directory(checkpoints / folder_name(step)));
  const fs::path temporary = checkpoints / ".best.tmp";
  std::error_code error;
  fs::remove(temporary, error);
  fs::create_directory_symlink(folder_name(step), temporary, error);
  if (!error) fs::rename(temporary, link, error);
  if (error)
    fail(link.string(), "can't be set: " + error.message(), "check the folder's permissions and the disk");
}

std::optional<fs::path> best_checkpoint(const fs::path& run) {
  std::error_code error;
  const fs::path target = fs::read_symlink(folder_of_checkpoints(run) / "best", error);
  if (error) return std::nullopt;
  const fs::path folder = folder_of_checkpoints(run) / target;
  if (!fs::is_directory(folder)) return std::nullopt;
  return folder;
}

Weights find_weights(const fs::path& run_or_file, WeightsChoice choice) {
  const std::string name = run_or_file.string();
  std::error_code error;
  if (!fs::exists(run_or_file, error))
    fail(name, "nothing there", "give a run's folder, one of its checkpoints or a .safetensors file");
  if (!fs::is_directory(run_or_file)) {
    if (choice.ema)
      fail(name, "a moving average is chosen in a run or a checkpoint, not in a file",
           "give the run, or its checkpoint's ema.safetensors itself");
    if (is_pickle(run_or_file))
      fail(name, "a pickle, which may run any code when it is read",
           "convert it once: python tools/pth_to_safetensors.py FILE FILE.safetensors");
    return read_weights(run_or_file);
  }
  if (fs::exists(run_or_file / kModel)) return read_chosen(run_or_file, choice.ema);
  if (choice.best)
    if (const auto best = best_checkpoint(run_or_file)) return read_chosen(*best, choice.ema);
  if (const auto newest = newest_whole(run_or_file)) return read_chosen(*newest, choice.ema);
  if (!list_checkpoints(run_or_file).empty())
    fail(name, "every checkpoint of this run is broken", "train it again, or give weights from elsewhere");
  if (fs::exists(run_or_file / "config.toml"))
    fail(name, "this run has no checkpoint yet", "wait for its first one, or continue it with --resume");
  fail(name, "neither a run nor a checkpoint",
       "give a run's folder, one of its checkpoints or a .safetensors file");
}

std::optional<Weights> average_beside(const Weights& model) {
  const auto path = fs::path(model.origin).parent_path() / kEma;
  if (!fs::exists(path)) return std::nullopt;
  return read_weights(path);
}

}  // namespace lacuna::train
