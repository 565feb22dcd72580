// lacuna generate of a decoder of texts.

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/text.h"
#include "lacuna/eval/generate.h"
#include "lacuna/eval/language.h"

namespace lacuna::eval {
namespace {

/// What to go on with: the prompt that is given, or the beginnings of records.
std::vector<std::pair<std::string, text::Ids>> prompts_of(const LanguageModel& model,
                                                          const data::Dataset& dataset,
                                                          const EvalConfig& config,
                                                          const data::TextConfig& texts) {
  std::vector<std::pair<std::string, text::Ids>> out;
  if (!config.generate.prompt.empty()) {
    out.emplace_back("prompt", model.tokens(config.generate.prompt));
    return out;
  }
  constexpr int64_t kUsual = 4;
  const data::TextTransform transform(texts, config.generate.prompt_tokens);
  const int64_t count = std::min(dataset.size(), config.max_test > 0 ? config.max_test : kUsual);
  for (int64_t i = 0; i < count; ++i) {
    const auto record = dataset.get(i);
    auto ids = transform.tokens(record);
    ids.resize(std::min<size_t>(ids.size(), static_cast<size_t>(config.generate.prompt_tokens)));
    out.emplace_back(record.key, std::move(ids));
  }
  return out;
}

Generated generate_texts(const Model& model, std::shared_ptr<data::Dataset> dataset,
                         const EvalConfig& config) {
  const auto language = language_model(model);
  if (dataset->modality() != "text")
    fail(dataset->uri(), str("holds ", dataset->modality(), ", not texts"), "give e.g. synthetic:facts");
  Generated out;
  std::vector<text::Ids> all;
  uint64_t number = 0;
  for (const auto& [key, prompt] : prompts_of(language, *dataset, config, model.config->text)) {
    const auto more = continue_text(language, prompt, config.generate,
                                    Stream(static_cast<uint64_t>(config.seed), "generate", number++));
    out.items.push_back({{"key", key},
                         {"prompt", language.tokenizer->decode(prompt)},
                         {"text", language.tokenizer->decode(more)},
                         {"tokens", more.size()}});
    all.push_back(prompt);
    all.back().insert(all.back().end(), more.begin(), more.end());
  }
  out.tensors["tokens"] = padded_tokens(all);
  return out;
}

const Register<Generator> registered{"meap", {"goes on with texts", generate_texts}};

}  // namespace
}  // namespace lacuna::eval
