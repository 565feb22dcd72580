#pragma once
// Pictures with texts: which text a picture is given, and its tokens.

#include <memory>
#include <string>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/data/dataset.h"
#include "lacuna/data/input.h"
#include "lacuna/text/tokenizer.h"

namespace lacuna::data {

/// Keys `caption.*`.
struct CaptionConfig {
  std::string tokenizer;        ///< a file or folder for text::open_tokenizer; empty: bytes
  std::string pick = "random";  ///< of several captions: random | first
  std::vector<std::string> templates{"a photo of a {}.", "a picture of a {}.", "an image of one {}.",
                                     "this is a {}.", "there is a {} in the picture."};
  void fields(Fields& f);
};

/// "Great_Dane" -> "great dane".
std::string spoken_class(const std::string& name);
/// Every {} of `pattern` replaced. Error when it has none.
std::string fill_template(const std::string& pattern, const std::string& name);

/// Texts as rows of tokens: start, text, end, as long as the network's context allows.
class CaptionEncoder {
 public:
  /// Opens the tokenizer. `length`: tokens of a row, start and end included. Error when the tokenizer has no
  /// end token.
  CaptionEncoder(const std::string& tokenizer, int64_t length);
  /// A longer text is cut; its last token is the end. The tokenizer's framing is kept, and completed.
  std::vector<int32_t> encode(const std::string& text) const;
  /// [B, U] int64 of several texts, -1 behind each end.
  at::Tensor encode(const std::vector<std::string>& texts) const;
  /// Words again, without special tokens; -1 is left out.
  std::string decode(const at::Tensor& tokens) const;
  int64_t vocab_size() const { return tokenizer_->vocab_size(); }

 private:
  std::shared_ptr<const text::Tokenizer> tokenizer_;
  int64_t length_;
};

/// The same records; a labelled one without captions gets its class in every template.
std::shared_ptr<Dataset> with_class_captions(std::shared_ptr<Dataset> whole,
                                             const std::vector<std::string>& templates);

/// Pictures as `picture` makes them, with Batch::tokens of one of their captions. A record without any is
/// broken; evaluations, whose features need no text, read an empty one.
std::shared_ptr<const Transform> with_captions(std::shared_ptr<const Transform> picture,
                                               const CaptionConfig& config,
                                               std::shared_ptr<const CaptionEncoder> encoder);

}  // namespace lacuna::data
