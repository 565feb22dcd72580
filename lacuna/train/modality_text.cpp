// Texts: keys text.*.

#include <algorithm>

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/dialogue_files.h"
#include "lacuna/data/tokens.h"
#include "lacuna/train/modality.h"
#include "lacuna/train/text_panel.h"

namespace lacuna::train {
namespace {

class Texts final : public Modality {
 public:
  std::string items() const override { return "texts"; }
  std::string default_data() const override { return "synthetic:facts"; }

  void add_keys(RunConfig& config) const override { config.table.add("text", config.text); }
  void resolve(RunConfig& /*config*/) const override {}

  std::shared_ptr<data::Dataset> settle(RunConfig& config,
                                        std::shared_ptr<data::Dataset> dataset) const override {
    const auto packed = std::dynamic_pointer_cast<data::TokensDataset>(dataset);
    if (packed) take_tokenizer(config, *packed);
    auto& path = config.text.tokenizer;
    if (path != "bytes" && io::fs::exists(path))  // the run is read again from elsewhere
      config.table.set("text.tokenizer", io::fs::absolute(path).lexically_normal().string(),
                       "text.tokenizer");
    const auto tokenizer = data::tokenizer_of(config.text);
    fill_vocabulary(config, *tokenizer);
    const auto context = config.table.get("encoder.context").get<int64_t>();
    const auto uri = dataset->uri();
    if (packed) return std::make_shared<data::TokensDataset>(packed->file(), context + 1, uri);
    const auto* files = dynamic_cast<const data::TextDataset*>(dataset.get());
    auto rows = config.text.rows;
    if (rows == "auto") rows = files && files->holds_dialogues() ? "dialogues" : "blocks";
    if (rows == "documents") return dataset;
    if (rows == "dialogues")
      return data::dialogue_dataset(dataset, config.text, context,
                                    config.table.get("mask.token_id").get<int32_t>(),
                                    static_cast<uint64_t>(config.train.seed));
    const auto tokens =
        data::tokenize(dataset, config.text, {.workers = std::max<int64_t>(1, config.train.workers)});
    log::info(
        str(uri, ": ", tokens->size(), " tokens of ", tokens->about().value("documents", 0), " documents"));
    return std::make_shared<data::TokensDataset>(tokens, context + 1, uri);
  }

  void require_settled(const RunConfig& /*config*/, const std::string& /*origin*/) const override {}

  std::shared_ptr<const data::Transform> transform(const RunConfig& config,
                                                   const InputSpec& input) const override {
    return std::make_shared<const data::TextTransform>(config.text, input.tokens);
  }

  Batch noise(const RunConfig& config, const InputSpec& input, int64_t samples, Draws& draws) const override {
    const auto words = config.table.get("encoder.vocab_size").get<double>();
    Batch batch;
    batch.tokens = (draws.uniform("tokens", {samples, input.tokens}) * words).to(torch::kLong);
    return batch;
  }

  Tensor panel(const Preview& preview, const RunConfig& config) const override {
    return text_panel(preview, *data::tokenizer_of(config.text));
  }

  std::optional<Skill> skill(const Preview& preview) const override {
    if (!preview.explained) return std::nullopt;
    return Skill{*preview.explained, *preview.explained};
  }

 private:
  /// A file of tokens says by which tokenizer it was made.
  static void take_tokenizer(RunConfig& config, const data::TokensDataset& packed) {
    const auto named = packed.file()->about().value("tokenizer", std::string());
    if (named.empty()) return;
    if (!config.table.is_set("text.tokenizer")) config.table.set("text.tokenizer", named, packed.uri());
    const auto size = packed.file()->about().value("vocab_size", int64_t{0});
    const auto own = data::tokenizer_of(config.text)->vocab_size();
    if (own != size)
      fail(packed.uri(), str("was made with a vocabulary of ", size, ", text.tokenizer has ", own),
           "give the tokenizer it was made with");
  }

  static void fill_vocabulary(RunConfig& config, const text::Tokenizer& tokenizer) {
    const int64_t mask = data::mask_id(tokenizer), multiple = config.text.vocab_multiple;
    const int64_t needed = std::max<int64_t>(tokenizer.vocab_size(), mask + 1);
    if (!config.table.is_set("mask.token_id")) config.table.set("mask.token_id", mask, "the tokenizer");
    if (!config.table.is_set("encoder.vocab_size"))
      config.table.set("encoder.vocab_size", (needed + multiple - 1) / multiple * multiple, "the tokenizer");
    const auto size = config.table.get("encoder.vocab_size").get<int64_t>();
    if (size < tokenizer.vocab_size())
      fail(str("encoder.vocab_size ", size), str("the tokenizer has ", tokenizer.vocab_size(), " tokens"),
           "leave it out, or raise it");
  }
};

const Register<ModalityEntry> registered{"text", {std::make_shared<Texts>()}};

}  // namespace
}  // namespace lacuna::train
