#pragma once
// Tokens that a tokenizer.json has beside its model's vocabulary: found in a text before anything else is
// done to it.

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace lacuna::text {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool single_word = false;             ///< only where no letter or digit is beside it
  bool lstrip = false, rstrip = false;  ///< takes the blanks beside it
  bool normalized = true;               ///< is looked for in the normalised text
  bool special = false;                 ///< left out of decoded texts
};

/// A part of a text: one of the added tokens (`id` >= 0), or text.
struct Part {
  int32_t id = -1;
  std::string text;
};

/// Cuts texts at added tokens; of those that start at one place the longest counts.
class AddedTokens {
 public:
  void add(const AddedToken& token);
  bool empty() const { return tokens_.empty(); }
  std::vector<Part> split(std::string_view text) const;

 private:
  const AddedToken* at(std::string_view text, size_t begin) const;

  std::vector<AddedToken> tokens_;
  std::vector<std::vector<size_t>> by_first_ = std::vector<std::vector<size_t>>(256);  // longest first
};

AddedToken read_added_token(const nlohmann::json& token);

}  // namespace lacuna::text
