#include "lacuna/nn/classifier.h"

#include <numeric>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/init.h"
#include "lacuna/nn/relative_position.h"

namespace lacuna::nn {

namespace {

using Weights = std::map<std::string, Tensor>;

constexpr const char* kTableName = "relative_position_bias_table";

/// The number behind the n-th dot: number_in("blocks.3.norm1", 1) is 3.
int64_t number_in(const std::string& name, int position) {
  size_t begin = 0;
  for (int i = 0; i < position; ++i) begin = name.find('.', begin) + 1;
  return std::stoll(name.substr(begin));
}

int64_t plain_layer(const std::string& name, int64_t depth) {
  if (name == "cls_token" || name == "mask_token" || name == "pos_embed" || name.starts_with("patch_embed"))
    return 0;
  return name.starts_with("blocks.") ? number_in(name, 1) + 1 : depth + 1;
}

/// fc_norm(mean of the patch tokens), or the normed class token. tokens [B, 1 + L, D] or, without a class
/// token, [B, L, D].
Tensor pooled(const Tensor& tokens, int64_t prefix, const std::shared_ptr<LayerNorm>& fc_norm) {
  return fc_norm ? fc_norm->forward(tokens.slice(1, prefix).mean(1)) : tokens.select(1, 0);
}

class ViTClassifier final : public Classifier {
 public:
  ViTClassifier(ViTConfig config, int64_t num_classes, bool average)
      : Classifier(config.embed_dim, num_classes) {
    if (!average && !config.class_token)
      fail("pool 'token'", "the encoder has no class token", "use pool = avg");
    config.final_norm = !average;
    const bool fixed = config.pos_embed == "sincos2d-fixed";
    encoder_ = std::make_shared<ViT>(config);
    adopt(*this, *encoder_);
    // Fine-tuning trains the positions; the table is where they start.
    if (fixed) named_parameters(false)["pos_embed"].set_requires_grad(true);
    if (average)
      fc_norm_ = register_module("fc_norm", std::make_shared<LayerNorm>(config.embed_dim, config.norm_eps));
  }

  Tensor features(const Tensor& image, Draws* draws) const override {
    return read_out(encoder_->embed(image), draws);
  }

  // Pictures that keep equally many patches run together.
  Tensor features_of_kept(const MaskedTensor& image) const override {
    const auto tokens = encoder_->embed(image.x);  // [B, L, D]
    const Size2 patch = encoder_->config().patch_size;
    const auto kept = patch_view(image.kept, patch).flatten(3).sum(3).flatten(1).gt(0);  // [B, L]
    const auto order = kept.to(torch::kByte).argsort(/*stable=*/true, 1, /*descending=*/true);
    const auto counts = kept.sum(1);  // [B]
    auto out = torch::zeros({tokens.size(0), head_->weight.size(1)}, tokens.options());
    for (int64_t count = 0; count <= kept.size(1); ++count) {
      const auto rows = counts.eq(count).nonzero().flatten();
      if (rows.numel() == 0 || (count == 0 && fc_norm_)) continue;  // no token to take the mean of
      const auto ids = order.index_select(0, rows).slice(1, 0, count);
      const auto seen = gather_tokens(tokens.index_select(0, rows), ids);
      out.index_copy_(0, rows, read_out(seen, nullptr));
    }
    return out;
  }

  void initialize(Draws& draws) override {
    encoder_->initialize(draws);
    trunc_normal_(head_->weight, 2e-5, draws, "head.weight");
  }

  int64_t layers() const override { return encoder_->config().depth + 2; }
  int64_t layer_of(const std::string& name) const override {
    return plain_layer(name, encoder_->config().depth);
  }
  bool spared_by_decay(const std::string& name) const override {
    return name == "pos_embed" || name == "cls_token";
  }

 protected:
  void resize(Weights& weights, const EncoderConfig& from) const override {
    const auto found = weights.find("pos_embed");
    if (found == weights.end()) return;
    found->second =
        resize_pos_embed(found->second, from.grid(), encoder_->config().grid(), encoder_->prefix_tokens());
  }

 private:
  /// [B, D] from embedded patches [B, K, D].
  Tensor read_out(const Tensor& patches, Draws* draws) const {
    const auto tokens = encoder_->run_blocks(encoder_->prepend_class(patches), draws);
    return pooled(encoder_->norm(tokens), encoder_->prefix_tokens(), fc_norm_);
  }

  std::shared_ptr<ViT> encoder_;
  std::shared_ptr<LayerNorm> fc_norm_;
};

class BeitClassifier final : public Classifier {
 public:
  BeitClassifier(BeitConfig config, int64_t num_classes, bool average)
      : Classifier(config.embed_dim, num_classes) {
    // Each block gets a table of its own, which starts as the shared one.
    config.use_rel_pos_bias = config.use_rel_pos_bias || config.use_shared_rel_pos_bias;
    config.use_shared_rel_pos_bias = false;
    config.use_mean_pooling = average;
    encoder_ = std::make_shared<Beit>(config);
    adopt(*this, *encoder_);
  }

  Tensor features(const Tensor& image, Draws* draws) const override {
    return pooled(encoder_->tokens(image, {}, draws), 1, encoder_->fc_norm());
  }

  void initialize(Draws& draws) override {
    constexpr double kStd = 0.02, kInitScale = 0.001;
    encoder_->initialize(draws);
    trunc_normal_(head_->weight, kStd, draws, "head.weight");
    const torch::NoGradGuard no_grad;
    head_->weight.mul_(kInitScale);
  }

  int64_t layers() const override { return encoder_->config().depth + 2; }
  int64_t layer_of(const std::string& name) const override {
    return plain_layer(name, encoder_->config().depth);
  }
  bool spared_by_decay(const std::string& name) const override { return encoder_->spared_by_decay(name); }

 protected:
  void resize(Weights& weights, const EncoderConfig& from) const override {
    const Size2 old_grid = from.grid(), grid = encoder_->config().grid();
    const auto shared = weights.find(std::string("rel_pos_bias.") + kTableName);
    if (shared != weights.end()) {
      for (int64_t i = 0; i < encoder_->config().depth; ++i)
        weights[str("blocks.", i, ".attn.", kTableName)] = shared->second.clone();
      weights.erase(shared);
    }
    for (auto& [name, tensor] : weights) {
      if (name.ends_with(kTableName))
        tensor = resize_relative_table(tensor, old_grid, grid, /*class_token=*/true);
      if (name == "pos_embed") tensor = resize_pos_embed(tensor, old_grid, grid, 1);
    }
  }

 private:
  std::shared_ptr<Beit> encoder_;
};

class SwinClassifier final : public Classifier {
 public:
  SwinClassifier(const SwinConfig& config, int64_t num_classes)
      : Classifier(config.stage_dim(config.depths.size() - 1), num_classes),
        encoder_(std::make_shared<Swin>(config)) {
    adopt(*this, *encoder_);
  }

  Tensor features(const Tensor& image, Draws* draws) const override {
    return encoder_->forward(image, {}, draws).mean(1);
  }

  void initialize(Draws& draws) override {
    encoder_->initialize(draws);
    trunc_normal_(head_->weight, 0.02, draws, "head.weight");
  }

  int64_t layers() const override { return blocks_before(encoder_->config().depths.size()) + 2; }

  int64_t layer_of(const std::string& name) const override {
    if (name == "mask_token" || name.starts_with("patch_embed")) return 0;
    if (!name.starts_with("layers.")) return layers() - 1;
    const auto stage = static_cast<size_t>(number_in(name, 1));
    return name.find(".downsample.") != std::string::npos ? blocks_before(stage + 1)
                                                          : blocks_before(stage) + number_in(name, 3) + 1;
  }

  bool spared_by_decay(const std::string& name) const override {
    return name == "absolute_pos_embed" || name.ends_with(kTableName);
  }

 protected:
  void resize(Weights& weights, const EncoderConfig& from) const override {
    const auto old = from.swin();
    for (auto& [name, tensor] : weights) {
      if (name.ends_with(kTableName)) {
        const auto stage = static_cast<size_t>(number_in(name, 1));
        const int64_t M0 = old.stage_window(stage), M1 = encoder_->config().stage_window(stage);
        tensor = resize_relative_table(tensor, {M0, M0}, {M1, M1}, /*class_token=*/false);
      }
      if (name == "absolute_pos_embed")
        tensor = resize_pos_embed(tensor, old.grid(), encoder_->config().grid(), 0);
    }
  }

 private:
  int64_t blocks_before(size_t stage) const {
    const auto& depths = encoder_->config().depths;
    return std::accumulate(depths.begin(), depths.begin() + static_cast<std::ptrdiff_t>(stage), int64_t{0});
  }

  std::shared_ptr<Swin> encoder_;
};

class ConvNetClassifier final : public Classifier {
 public:
  explicit ConvNetClassifier(const ConvNetConfig& config)
      : network_(Registry<ConvNetArch>::instance().get(config.arch).make(config)) {
    adopt(*this, *network_);
  }

  Tensor features(const Tensor& image, Draws* draws) const override {
    return network_->features({.x = image}, draws);
  }
  Tensor logits_of(const Tensor& features, Draws* draws) const override {
    return network_->head(features, draws);
  }
  Tensor features_of_kept(const MaskedTensor& image) const override {
    return network_->features(image, nullptr);
  }

  void initialize(Draws& draws) override { network_->initialize(draws); }
  int64_t layers() const override { return network_->layers(); }
  int64_t layer_of(const std::string& name) const override { return network_->layer_of(name); }
  bool spared_by_decay(const std::string& /*name*/) const override { return false; }
  bool is_head(const std::string& name) const override { return network_->is_head(name); }

 protected:
  void resize(Weights& /*weights*/, const EncoderConfig& /*from*/) const override {}

 private:
  std::shared_ptr<ConvNet> network_;
};

/// Of pre-training alone, or computed from the config.
bool is_left_out(const std::string& name) {
  return name.starts_with("decoder") || name == "mask_token" || name.ends_with("relative_position_index") ||
         name.ends_with("relative_coords_table") || name.ends_with("attn_mask");
}

Weights without_prefix(Weights weights) {
  constexpr std::string_view kPrefix = "encoder.";
  const bool prefixed = std::any_of(weights.begin(), weights.end(),
                                    [&](const auto& item) { return item.first.starts_with(kPrefix); });
  if (!prefixed) return weights;
  Weights out;
  for (auto& [name, tensor] : weights)
    if (name.starts_with(kPrefix)) out[name.substr(kPrefix.size())] = std::move(tensor);
  return out;
}

}  // namespace

Classifier::Classifier(int64_t features, int64_t num_classes) {
  head_ = register_module("head", std::make_shared<Linear>(features, num_classes));
}

Tensor Classifier::features_of_kept(const MaskedTensor& /*image*/) const {
  fail("this encoder", "can't leave parts of a picture out by itself",
       "use a convolutional network or a plain ViT, or remove pixels by painting (explain.removal=grey)");
}

Weights Classifier::adapt(Weights weights, const EncoderConfig& from) const {
  const torch::NoGradGuard no_grad;
  weights = without_prefix(std::move(weights));
  std::erase_if(weights, [](const auto& item) { return is_left_out(item.first); });
  resize(weights, from);
  const auto own = named_parameters();
  std::erase_if(weights, [&](const auto& item) {
    const auto* mine = own.find(item.first);
    if (item.first.starts_with("norm.")) return mine == nullptr;
    return is_head(item.first) && (mine == nullptr || mine->sizes() != item.second.sizes());
  });
  return weights;
}

std::shared_ptr<Classifier> make_classifier(const ClassifierConfig& config) {
  const bool average = config.pool == "avg";
  switch (config.encoder.kind()) {
    case EncoderKind::kViT:
      return std::make_shared<ViTClassifier>(config.encoder.vit(), config.num_classes, average);
    case EncoderKind::kBeit:
      return std::make_shared<BeitClassifier>(config.encoder.beit(), config.num_classes, average);
    case EncoderKind::kConvNet:
      if (!average) fail("pool 'token'", "a convolutional network has no class token", "use pool = avg");
      return std::make_shared<ConvNetClassifier>(config.encoder.conv_net(config.num_classes));
    case EncoderKind::kSwin:
      if (!average) fail("pool 'token'", "a Swin encoder has no class token", "use pool = avg");
      return std::make_shared<SwinClassifier>(config.encoder.swin(), config.num_classes);
  }
  LACUNA_ASSERT(false && "an encoder kind without a classifier");
}

}  // namespace lacuna::nn
