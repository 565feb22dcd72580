#pragma once
// What the protocols of texts share: scoring and going on with texts by a decoder.

#include <string>
#include <utility>
#include <vector>

#include "lacuna/eval/protocol.h"
#include "lacuna/method/meap.h"
#include "lacuna/text/tokenizer.h"

namespace lacuna::eval {

/// A model of texts with its tokenizer. Error when the weights are of another kind.
struct LanguageModel {
  const Meap& method;
  std::shared_ptr<const text::Tokenizer> tokenizer;
  torch::Device device;

  int64_t context() const { return method.config().encoder.context; }
  /// Begin token, where the vocabulary has one and the config wants it, and the text's tokens.
  text::Ids tokens(const std::string& text) const;
};
LanguageModel language_model(const Model& model);

/// Lists of tokens as [B, U] int64 with -1 behind each end.
Tensor padded_tokens(const std::vector<text::Ids>& texts);
/// [B, U - 1] float32: log-probability of each token but the first, given those before; 0 behind a text's
/// end. `right` (may be null): [B, U - 1] bool, whether it was the likeliest.
Tensor token_scores(const LanguageModel& model, const Tensor& tokens, Tensor* right = nullptr);

/// A prompt and the tokens that should follow; split where both readings of the tokenizer agree.
struct Cloze {
  text::Ids tokens;    ///< prompt and answer
  int64_t answer = 0;  ///< where the answer begins
};
Cloze make_cloze(const LanguageModel& model, const std::string& prompt, const std::string& answer);
/// Whether greedy decoding gives each answer, all its tokens.
std::vector<bool> answered(const LanguageModel& model, const std::vector<Cloze>& clozes, int64_t batch_size);

/// Lines of a set's texts, in order, without those that speak of codes. Error when there is none.
std::vector<std::string> haystack_lines(const data::Dataset& dataset);

/// New tokens behind `prompt`, with the keys and values of what was read kept: at most generate.tokens, up to
/// the end token or the end of the context.
text::Ids continue_text(const LanguageModel& model, const text::Ids& prompt, const GenerateConfig& config,
                        Stream random);

}  // namespace lacuna::eval
