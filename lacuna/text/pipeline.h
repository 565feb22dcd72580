#pragma once
// The steps of a tokenizer.json (Hugging Face, `tokenizers`): each makes one from its part of the file.

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "lacuna/text/merges.h"

namespace lacuna::text {

using nlohmann::json;
using Pieces = std::vector<std::string>;

/// Text -> text, before it is split.
using Normalizer = std::function<std::string(std::string)>;
/// Cuts pieces into words. `first`: the first piece starts the whole text.
using PreTokenizer = std::function<Pieces(Pieces, bool first)>;
/// Tokens -> parts of the text, to be joined.
using Decoder = std::function<Pieces(Pieces)>;

/// Each is empty for null. Error naming `origin` for a type that is not known here. `depth`: of sequences in
/// sequences.
Normalizer make_normalizer(const json& part, const std::string& origin, int depth = 0);
PreTokenizer make_pre_tokenizer(const json& part, const std::string& origin, int depth = 0);
Decoder make_decoder(const json& part, const std::string& origin, int depth = 0);

/// A vocabulary that turns one word into tokens.
class Model {
 public:
  virtual ~Model() = default;
  virtual void encode(std::string_view word, Ids& out) const = 0;
  virtual std::string kind() const = 0;

  /// "" for a hole
  const std::string& piece(int32_t id) const;
  int32_t id_of(std::string_view piece) const;  ///< -1: not there
  int32_t size() const { return static_cast<int32_t>(pieces_.size()); }

 protected:
  /// {"piece": id, ...}; Error for an id that is negative, used twice, or absurd.
  void read_vocabulary(const json& vocab, const std::string& origin);
  int32_t require(const std::string& piece, const std::string& origin) const;  ///< Error when it is not there

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  std::vector<std::string> pieces_;
  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> ids_;
};
std::unique_ptr<Model> make_model(const json& part, const std::string& origin);

/// What a sequence's tokens are put between: begin and end tokens by number, in order.
struct Frame {
  Ids before, after;
};
Frame make_frame(const json& part, const std::string& origin, int depth = 0);

/// The "type" of a part, with which sequences nested too deep are refused.
std::string type_of(const json& part, const std::string& origin, int depth);
[[noreturn]] void fail_type(const std::string& type, const char* noun, const std::string& origin);

}  // namespace lacuna::text
