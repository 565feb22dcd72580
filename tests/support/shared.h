#pragma once
// Where the golden cases and real data lie, when they are there.

#include <cstdlib>
#include <filesystem>

namespace lacuna::testing {

/// LACUNA_SHARED, else ../shared from the project's root.
inline std::filesystem::path shared_folder() {
  if (const char* given = std::getenv("LACUNA_SHARED")) return given;
  return std::filesystem::path(LACUNA_SOURCE_DIR).parent_path() / "shared";
}

}  // namespace lacuna::testing

/// Skips the test, with the reason, when `path` (below the shared folder) is absent.
#define LACUNA_NEEDS_SHARED(path)                                        \
  if (!std::filesystem::exists(lacuna::testing::shared_folder() / path)) \
  GTEST_SKIP() << (lacuna::testing::shared_folder() / path) << " is not here"
