#include "lacuna/method/meap.h"

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/method/llama_names.h"

namespace lacuna {

void MeapConfig::fields(Fields& f) {
  f.group("encoder", encoder);
  f.group("mask", mask);
}

void MeapConfig::resolve(const ConfigTable& table) {
  encoder.resolve(table, "encoder");
  // Both follow from the tokenizer; until it is known, a small vocabulary does not reach the usual number.
  if (mask.token_id >= encoder.vocab_size && !table.is_set("mask.token_id"))
    mask.token_id = encoder.vocab_size - 1;
  if (mask.token_id >= encoder.vocab_size)
    fail(str("mask.token_id ", mask.token_id), str("is not in a vocabulary of ", encoder.vocab_size),
         "raise encoder.vocab_size, or use another token");
}

Meap::Meap(const MeapConfig& config, Draws& draws)
    : config_(config), network_(std::make_shared<nn::Llama>(config.encoder)) {
  network_->initialize(draws);
  nn::adopt(*this, *network_);
}

Tensor without_filling(const Tensor& tokens) { return tokens.clamp_min(0); }

Tensor Meap::masked(const Tensor& ids, const Tensor& hidden) const {
  return hidden.defined() ? ids.masked_fill(hidden.to(ids.device()), config_.mask.token_id) : ids;
}

Tensor Meap::hidden(int64_t texts, int64_t tokens, Draws& draws) const {
  if (!config_.mask.shared_over_batch) return mask::own_positions(config_.mask, texts, tokens, draws);
  const auto positions = mask::shared_positions(config_.mask, tokens, step_);
  return torch::zeros({tokens}, torch::kBool).index_fill(0, positions, true).expand({texts, tokens});
}

NextToken Meap::next_token(const Tensor& ids, const Tensor& target) const {
  const auto wanted = target.flatten();
  const auto places = wanted.ge(0).nonzero().flatten();
  auto x = network_->hidden(ids).flatten(0, 1);  // [B T, H]
  const bool all = places.size(0) == wanted.size(0);
  if (!all) x = x.index_select(0, places);
  const auto said = network_->logits(x).to(torch::kFloat);
  const auto loss = at::cross_entropy_loss(said, all ? wanted : wanted.index_select(0, places));
  return {loss, places.size(0)};
}

Loss Meap::forward(const Batch& batch, Draws& draws) {
  const auto ids = without_filling(batch.tokens);
  if (batch.token_label.defined()) {
    const auto [loss, count] = next_token(ids.slice(1, 0, -1), batch.token_label.slice(1, 1));
    return {.total = loss, .parts = {{"answers", loss}}, .weight = static_cast<double>(count)};
  }
  const int64_t T = batch.tokens.size(1) - 1;
  const auto seen = masked(ids.slice(1, 0, T), hidden(ids.size(0), T, draws));
  const auto [loss, count] = next_token(seen, batch.tokens.slice(1, 1));
  return {.total = loss, .parts = {{"next", loss}}, .weight = static_cast<double>(count)};
}

Tensor Meap::tokens(const Batch& batch) {
  const torch::NoGradGuard no_grad;
  const auto read = batch.tokens.slice(1, 0, std::min(batch.tokens.size(1), config_.encoder.context));
  return network_->hidden(without_filling(read)).to(torch::kFloat);
}

Tensor Meap::features(const Batch& batch, const FeatureOptions& /*options*/) {
  const auto states = tokens(batch);
  const auto real = batch.tokens.slice(1, 0, states.size(1)).ge(0).unsqueeze(-1).to(torch::kFloat);
  return (states * real).sum(1) / real.sum(1).clamp_min(1);
}

Preview Meap::preview(const Batch& batch, Draws& draws) {
  const torch::NoGradGuard no_grad;
  const auto ids = without_filling(batch.tokens);
  const int64_t B = ids.size(0), T = ids.size(1) - 1;
  Preview out;
  out.tokens = batch.tokens.cpu();
  Tensor target = batch.tokens.slice(1, 1);
  if (batch.token_label.defined()) {  // rows are masked as they come
    target = batch.token_label.slice(1, 1);
    out.hidden_tokens = ids.eq(config_.mask.token_id).cpu();
    out.tokens = torch::where(batch.token_label.ge(0), batch.token_label, batch.tokens).cpu();
  } else {
    const auto last = torch::zeros({B, 1}, torch::kBool);  // is only predicted
    out.hidden_tokens = torch::cat({hidden(B, T, draws), last}, 1) & out.tokens.ge(0);
  }
  const auto seen = masked(ids, out.hidden_tokens).slice(1, 0, T);
  const auto said = network_->logits(network_->hidden(seen)).to(torch::kFloat);
  out.predicted_tokens = torch::cat(
      {torch::full({B, 1}, -1, torch::kLong), said.argmax(-1).cpu().masked_fill(target.cpu().lt(0), -1)}, 1);
  // Against the guess that knows how often each token of these texts occurs, and nothing else.
  const auto places = target.flatten().ge(0).nonzero().flatten();
  const auto wanted = target.flatten().index_select(0, places);
  if (wanted.numel() > 0) {
    const auto own = at::cross_entropy_loss(said.flatten(0, 1).index_select(0, places), wanted);
    const auto counts = wanted.bincount().to(torch::kFloat);
    const auto share = counts / counts.sum();
    const double guess = -share.xlogy(share).sum().item<double>();
    if (guess > 0) out.explained = 1 - own.item<double>() / guess;
  }
  return out;
}

int64_t Meap::layer_of(const std::string& name) const {
  const std::string layers_prefix = "model.layers.";
  if (name.starts_with("model.embed_tokens")) return 0;
  if (!name.starts_with(layers_prefix)) return layers() - 1;
  return 1 + std::stoll(name.substr(layers_prefix.size()));
}

namespace {

const Register<MethodInfo> registered{
    "meap",
    {.title = "Mask-Enhanced Autoregressive Prediction: Pay Less Attention to Learn More",
     .paper = "ICML 2025 (PMLR 267), arXiv 2502.07490",
     .code = "github.com/scitix/MEAP, 0f5e837, MIT",
     .summary =
         "A decoder of texts learns to say the next token while some of the tokens it reads are replaced by "
         "[MASK]. "
         "Targets, network and inference stay as they are; at equal tokens it retrieves what stands in long "
         "texts better than plain next-token prediction.",
     .parts =
         {"masker: 15 % of the input tokens, one set of positions for a step's texts, or each text its own",
          "network: Llama (rotary positions, grouped queries, RMSNorm, SwiGLU)",
          "target: the next token, everywhere", "loss: cross-entropy",
          "fine-tuning: dialogues, with a copy of long answers of which 10 % is masked and to be said",
          "evaluation: perplexity, minimal-pairs, needle, documents, attention; lacuna generate"},
     .defaults = {"train.lr=4e-4", "train.min_lr=4e-5", "train.steps=20000", "train.weight_decay=0.05",
                  "train.betas=[0.9,0.95]", "train.clip_grad=1", "train.schedule=micro_cosine"},
     .make_config = [] { return std::make_unique<MeapConfig>(); },
     .make =
         [](const MethodConfig& config, Draws& draws) {
           return std::make_shared<Meap>(dynamic_cast<const MeapConfig&>(config), draws);
         },
     .tiny = {"encoder.embed_dim=16", "encoder.depth=2", "encoder.num_heads=4", "encoder.num_kv_heads=2",
              "encoder.mlp_dim=24", "encoder.context=32", "encoder.vocab_size=320", "mask.token_id=258"},
     .names = llama_weight_names(),
     .modality = "text"}};

}  // namespace
}  // namespace lacuna
