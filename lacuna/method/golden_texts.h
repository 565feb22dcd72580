#pragma once
// Texts and lists of numbers as golden cases hold them: all in one tensor, with the places where each begins.

#include "lacuna/method/golden.h"

namespace lacuna {

/// Item i of `lists` is values[offsets[i] .. offsets[i + 1]); int64.
std::vector<std::vector<int64_t>> golden_lists(const GoldenCase& golden, const std::string& values,
                                               const std::string& offsets);
/// The same of bytes.
std::vector<std::string> golden_texts(const GoldenCase& golden, const std::string& bytes,
                                      const std::string& offsets);

/// Adds lists as two tensors: all values, and where each list begins (with the end behind the last).
void add_golden_ids(io::Tensors& out, const std::vector<std::vector<int32_t>>& lists,
                    const std::string& values, const std::string& offsets);
void add_golden_texts(io::Tensors& out, const std::vector<std::string>& texts, const std::string& bytes,
                      const std::string& offsets);

}  // namespace lacuna
