#include "lacuna/cli/places.h"

#include <algorithm>
#include <cstdlib>

namespace lacuna::cli {

namespace fs = std::filesystem;

namespace {

std::vector<fs::path> toml_files() {
  std::vector<fs::path> candidates;
  std::error_code ignored;
  if (const char* given = std::getenv("LACUNA_RECIPES")) candidates.emplace_back(given);
  const auto program = fs::read_symlink("/proc/self/exe", ignored);
  candidates.push_back(program.parent_path().parent_path() / "share" / "lacuna" / "recipes");
  candidates.push_back(fs::path(LACUNA_SOURCE_DIR) / "recipes");
  std::vector<fs::path> out;
  for (const auto& folder : candidates) {
    if (!fs::is_directory(folder, ignored)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(folder))
      if (entry.path().extension() == ".toml") out.push_back(entry.path());
    break;
  }
  std::sort(out.begin(), out.end());
  return out;
}

constexpr const char* kClaims = "claims.toml";

}  // namespace

std::vector<fs::path> recipe_files() {
  auto files = toml_files();
  std::erase_if(files, [](const fs::path& path) { return path.filename() == kClaims; });
  return files;
}

std::vector<fs::path> claim_files() {
  auto files = toml_files();
  std::erase_if(files, [](const fs::path& path) { return path.filename() != kClaims; });
  return files;
}

}  // namespace lacuna::cli
