#pragma once

#include <filesystem>
#include <vector>

namespace lacuna::cli {

/// The recipes that came with the program: LACUNA_RECIPES, the install tree's share/lacuna/recipes, or
/// the source tree's.
std::vector<std::filesystem::path> recipe_files();

/// recipes/METHOD/claims.toml of the same folder: what `lacuna reproduce METHOD` runs.
std::vector<std::filesystem::path> claim_files();

}  // namespace lacuna::cli
