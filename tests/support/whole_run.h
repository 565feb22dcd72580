#pragma once
// Runs of four steps from the command line.

#include <gtest/gtest.h>

#include "tests/support/small_run.h"

namespace lacuna::testing {

inline std::vector<std::string> with_settings(std::vector<std::string> out,
                                              const std::vector<std::string>& settings) {
  for (const auto& setting : settings) out.insert(out.end(), {"--set", setting});
  return out;
}

/// What a call that must succeed prints.
inline std::string run_whole(const std::vector<std::string>& arguments) {
  const auto outcome = run_program(arguments);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  return outcome.out;
}

/// A copy of `run`, of four steps, that lost the last two and takes them again has the same losses.
inline void expect_resumed_alike(const fs::path& run, const fs::path& stopped) {
  fs::copy(run, stopped, fs::copy_options::recursive | fs::copy_options::copy_symlinks);
  fs::remove_all(stopped / "checkpoints/best");
  fs::remove_all(stopped / "checkpoints/step-00000004");
  run_whole(resume(stopped));
  EXPECT_EQ(losses(stopped), losses(run));
}

}  // namespace lacuna::testing
