#include "lacuna/train/preparation.h"

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/train/checkpoint.h"
#include "lacuna/train/trainer.h"

namespace lacuna::train {

namespace fs = io::fs;

namespace {

bool is_finished(const fs::path& run) {
  const auto checkpoint = newest_checkpoint(run);
  return checkpoint && checkpoint->state.value("finished", false);
}

/// What was refused before anything was made leaves no run behind.
void forget_if_alone(const fs::path& begun) {
  std::error_code ignored;
  const auto run = begun.parent_path();
  const auto count = std::distance(fs::directory_iterator(run, ignored), fs::directory_iterator());
  if (ignored || count != 1) return;
  fs::remove(begun, ignored);
  fs::remove(run, ignored);
}

}  // namespace

fs::path config_to_resume(const fs::path& run) {
  for (const char* name : {"config.toml", "preparation.toml"})
    if (fs::exists(run / name)) return run / name;
  return {};
}

std::string chosen_toml(const RunConfig& config) {
  std::string out = str("method = ", Json(config.method).dump(), "\n");
  for (const auto& field : config.table.fields())
    if (field.key != "method" && config.table.is_set(field.key))
      out += str(field.key, " = ", field.get().dump(), "\n");  // JSON's values are TOML's too
  return out;
}

bool prepare(RunConfig& config, const fs::path& run, bool resume, Processes* processes) {
  if (fs::exists(run / "config.toml")) return resume;  // training has begun; the Trainer refuses a new one
  const auto* preparation = Registry<Preparation>::instance().find(config.method);
  if (!preparation) return resume;
  const auto begun = run / "preparation.toml";
  if (!resume && fs::exists(begun))
    fail(run.string(), "already holds a run", "give --resume to continue it or choose another --out");
  const bool first = !processes || processes->first();
  const bool fresh = first && !fs::exists(begun);
  if (first) {
    io::make_folder(run);
    io::write_atomically(begun, chosen_toml(config));
  }
  try {
    preparation->run(config, run, processes);
  } catch (const Error&) {
    if (fresh) forget_if_alone(begun);
    throw;
  }
  return false;
}

void train_before(const fs::path& run, const std::string& what,
                  const std::function<std::unique_ptr<RunConfig>()>& fresh, Processes* processes) {
  if (is_finished(run)) return;
  const auto begun = config_to_resume(run);
  auto config = begun.empty() ? fresh() : RunConfig::from_toml(read_toml(begun.string()), begun.string());
  log::info(str(what, ", in ", run.string()));
  if (processes) processes->barrier();  // all have looked before the first one begins
  const bool resume = prepare(*config, run, !begun.empty(), processes);
  Trainer(std::move(config), run, resume, processes).run();
}

}  // namespace lacuna::train
