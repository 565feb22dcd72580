#include "lacuna/train/preparation.h"

#include "lacuna/core/error.h"

namespace lacuna::train {

namespace fs = io::fs;

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
  if (!processes || processes->first()) {
    io::make_folder(run);
    io::write_atomically(begun, chosen_toml(config));
  }
  preparation->run(config, run, processes);
  return false;
}

}  // namespace lacuna::train
