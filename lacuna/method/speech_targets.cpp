#include "lacuna/method/speech_targets.h"

#include <numeric>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/method/speech_targets_names.h"
#include "lacuna/nn/dropout.h"
#include "lacuna/nn/init.h"

namespace lacuna {

namespace {

constexpr double kEps = 1e-5;
constexpr double kLeastNorm = 1e-8;

/// Rows divided by their length (torch.cosine_similarity's rule).
Tensor unit(const Tensor& x) {
  return x / torch::linalg_vector_norm(x, 2, c10::IntArrayRef({-1}), true).clamp_min(kLeastNorm);
}

/// Half precision to single; single and double stay.
Tensor widened(const Tensor& x) { return x.scalar_type() == torch::kDouble ? x : x.to(torch::kFloat); }

}  // namespace

mask::SpanConfig no_channel_mask() { return {.prob = 0, .length = 10, .min_spans = 0}; }

void SpeechPredictorConfig::fields(Fields& f) {
  f("final_dim", final_dim, "width in which frames and classes are compared; 0: the encoder's").range(0);
  f("untie", untie, "a projection for each label set instead of one for all");
  f("logit_temp", logit_temp, "cosines are divided by it").range(1e-4);
  f("target_glu", target_glu, "a gated linear unit on the classes' vectors");
}

void SpeechLossConfig::fields(Fields& f) {
  f("masked_weight", masked_weight, "weight of hidden frames").range(0);
  f("unmasked_weight", unmasked_weight, "weight of visible frames").range(0);
  f("features_pen", features_pen, "weight of the mean square of the front-end's features").range(0);
  f("mean_over_sets", mean_over_sets, "divide by the number of label sets (official: the sum)");
}

void SpeechTargetsConfig::fields(Fields& f) {
  f.group("encoder", encoder);
  f.group("mask", mask);
  f.group("channel_mask", channel_mask);
  f.group("predictor", predictor);
  f.group("loss", loss);
  f.group("target", target);
}

void SpeechTargetsConfig::resolve(const ConfigTable& table) {
  encoder.resolve(table, "encoder");
  if (encoder.arch == "hubert_large" && !table.is_set("predictor.final_dim")) predictor.final_dim = 768;
  if (predictor.final_dim == 0) predictor.final_dim = encoder.embed_dim;
  target.resolve(table);
  if (table.has("audio.label_rate")) label_rate = table.get("audio.label_rate").get<double>();
  if (table.has("audio.sample_rate")) sample_rate = table.get("audio.sample_rate").get<int64_t>();
  if (loss.masked_weight + loss.unmasked_weight <= 0)
    fail("loss.masked_weight and loss.unmasked_weight", "are both 0", "raise one of them");
}

Tensor align_labels(int64_t frames, int64_t labels, double ratio) {
  if (ratio * static_cast<double>(frames) > static_cast<double>(labels))
    frames = static_cast<int64_t>(static_cast<double>(labels) / ratio);
  return (torch::arange(frames, torch::kFloat) * ratio).to(torch::kLong);
}

SpeechTargets::SpeechTargets(const SpeechTargetsConfig& config, Draws& draws)
    : config_(config), classes_(config.target.classes()) {
  const int64_t C = config.encoder.conv_dim(), D = config.encoder.embed_dim, E = config.predictor.final_dim;
  const auto sets = std::ssize(classes_);
  const int64_t K = std::accumulate(classes_.begin(), classes_.end(), int64_t{0});
  mask_emb_ = register_parameter("mask_emb", torch::zeros({D}));
  if (sets > 0) label_embs_concat_ = register_parameter("label_embs_concat", torch::zeros({K, E}));
  feature_extractor_ =
      register_module("feature_extractor", std::make_shared<nn::ConvFeatures>(config.encoder));
  layer_norm_ = register_module("layer_norm", std::make_shared<nn::LayerNorm>(C, kEps));
  if (C != D) post_extract_proj_ = register_module("post_extract_proj", std::make_shared<nn::Linear>(C, D));
  encoder_ = register_module("encoder", std::make_shared<nn::HubertEncoder>(config.encoder));
  if (sets > 0)
    final_proj_ =
        register_module("final_proj", std::make_shared<nn::Linear>(D, config.predictor.untie ? E * sets : E));
  if (sets > 0 && config.predictor.target_glu) {
    const auto glu = register_module("target_glu", std::make_shared<torch::nn::Module>());
    target_glu_ = glu->register_module("0", std::make_shared<nn::Linear>(E, 2 * E));
  }
  {
    const torch::NoGradGuard no_grad;
    mask_emb_.copy_(draws.uniform("mask_emb", mask_emb_.sizes()));
    if (sets > 0) label_embs_concat_.copy_(draws.uniform("label_embs_concat", label_embs_concat_.sizes()));
  }
  constexpr double kBits = 1 << 24;  // a float32 uniform has so many values
  layerdrop_seed_ = static_cast<uint64_t>(draws.uniform("encoder.layerdrop", {1}).item<double>() * kBits);
  feature_extractor_->initialize(draws, "feature_extractor");
  encoder_->initialize(draws, "encoder");
  const auto linear = [&](const std::shared_ptr<nn::Linear>& layer, const std::string& name) {
    if (layer) nn::default_conv_init_(layer->weight, layer->bias, draws, name);
  };
  linear(post_extract_proj_, "post_extract_proj");
  linear(final_proj_, "final_proj");
  linear(target_glu_, "target_glu.0");
  if (config.encoder.feature_grad_mult <= 0)
    for (auto& parameter : feature_extractor_->parameters()) parameter.requires_grad_(false);
}

SpeechTargets::Heard SpeechTargets::hear(const Batch& batch) const {
  const int64_t N = batch.wave.size(1);
  if (config_.encoder.frames(N) < 1)
    fail(batch.key.empty() ? "recording" : batch.key.front(),
         str("has ", N, " samples, fewer than the ", config_.encoder.field(), " that one frame sees"),
         "raise audio.min_samples");
  Heard out;
  out.conv = nn::scale_gradient(feature_extractor_->forward(batch.wave),
                                std::max(config_.encoder.feature_grad_mult, 0.0));
  if (batch.frame_label.defined()) {
    const double ratio = config_.label_rate * static_cast<double>(config_.encoder.stride()) /
                         static_cast<double>(config_.sample_rate);
    const auto index = align_labels(out.conv.size(2), batch.frame_label.size(2), ratio);
    if (index.numel() == 0)
      fail(batch.key.empty() ? "recording" : batch.key.front(), "has too few labels for one frame",
           "check audio.label_rate, or raise audio.min_samples");
    out.conv = out.conv.slice(2, 0, index.size(0));
    out.label = batch.frame_label.index_select(2, index.to(batch.frame_label.device()));
  }
  const int64_t T = out.conv.size(2), chunk = N / T;
  const auto length = batch.wave_length.to(torch::kCPU);
  out.length = ((length + chunk - 1) / chunk).floor().to(torch::kLong).clamp(1, T);
  out.padding = torch::arange(T).unsqueeze(0).ge(out.length.unsqueeze(1)).to(out.conv.device());  // [B, T]
  return out;
}

Tensor SpeechTargets::project(const Tensor& conv, Draws* draws) const {
  auto x = layer_norm_->forward(conv.transpose(1, 2));  // [B, T, C]
  if (post_extract_proj_) x = post_extract_proj_->forward(x);
  return nn::dropout(x, config_.encoder.dropout_input, "dropout_input", draws);
}

SpeechTargets::Mask SpeechTargets::draw_mask(const Heard& heard, Draws& draws) const {
  const int64_t B = heard.conv.size(0), T = heard.conv.size(2), D = config_.encoder.embed_dim;
  const auto device = heard.conv.device();
  Mask out;
  out.frames = mask::drawn_mask(config_.mask, heard.length, T, draws).to(device);
  if (config_.channel_mask.prob > 0)
    out.channels =
        mask::drawn_mask(config_.channel_mask, torch::full({B}, D, torch::kLong), D, draws, "mask_channel")
            .to(device);
  return out;
}

// Every process and every micro-batch of a step skips the same blocks: several processes equal one.
std::vector<char> SpeechTargets::skipped_blocks() const {
  const auto& encoder = config_.encoder;
  if (encoder.layerdrop <= 0) return {};
  std::vector<char> out;
  for (int64_t i = 0; i < encoder.depth; ++i) {
    Stream random(layerdrop_seed_, "encoder.layerdrop", static_cast<uint64_t>(i),
                  static_cast<uint32_t>(step_));
    out.push_back(random.uniform() < encoder.layerdrop ? 1 : 0);
  }
  return out;
}

Tensor SpeechTargets::encode(const Heard& heard, const Mask& mask, Draws* draws) const {
  auto x = project(heard.conv, draws);  // [B, T, D]
  if (mask.frames.defined()) x = torch::where(mask.frames.unsqueeze(-1), mask_emb_.to(x.scalar_type()), x);
  if (mask.channels.defined()) x = x.masked_fill(mask.channels.unsqueeze(1), 0);
  const bool padded = heard.padding.any().item<bool>();
  return encoder_->forward(x, padded ? heard.padding : Tensor(), draws,
                           draws != nullptr ? skipped_blocks() : std::vector<char>{});
}

std::vector<Tensor> SpeechTargets::blocks(const Heard& heard, int64_t last) const {
  const bool padded = heard.padding.any().item<bool>();
  return encoder_->layers(project(heard.conv, nullptr), padded ? heard.padding : Tensor(), last);
}

Tensor SpeechTargets::logits(const Tensor& x, int64_t set) const {
  const int64_t E = config_.predictor.final_dim;
  int64_t first = 0;
  for (int64_t j = 0; j < set; ++j) first += classes_[static_cast<size_t>(j)];
  const auto from = config_.predictor.untie ? set * E : 0;
  const auto weight = final_proj_->weight.slice(0, from, from + E),
             bias = final_proj_->bias.slice(0, from, from + E);
  const auto projected = widened(torch::linear(x, weight, bias));
  auto classes = label_embs_concat_.slice(0, first, first + classes_[static_cast<size_t>(set)]);
  if (target_glu_) classes = widened(torch::glu(target_glu_->forward(classes), -1));
  return torch::mm(unit(projected), unit(classes).t()) / config_.predictor.logit_temp;
}

SpeechTargets::Scored SpeechTargets::score(const Tensor& x, const Tensor& label, const Tensor& chosen) const {
  Scored out;
  const auto rows = chosen.flatten().nonzero().flatten();
  const auto picked = x.flatten(0, 1).index_select(0, rows);  // [S, D]: all that is projected
  out.count = rows.numel();
  for (int64_t j = 0; j < std::ssize(classes_); ++j) {
    const auto scores = logits(picked, j);
    const auto wanted = label.select(1, j).flatten().index_select(0, rows);
    out.loss.push_back(torch::cross_entropy_loss(scores, wanted, {}, at::Reduction::Sum));
    const auto own = scores.detach().gather(1, wanted.unsqueeze(1)).squeeze(1);
    const auto best = std::get<0>(scores.detach().max(1)), worst = std::get<0>(scores.detach().min(1));
    out.right.push_back(((own >= best) & (best > worst)).sum());
  }
  return out;
}

Loss SpeechTargets::forward(const Batch& batch, Draws& draws) {
  const auto heard = hear(batch);
  if (!heard.label.defined())
    fail("speech-targets", "the data have no frame labels to predict",
         "let `lacuna pretrain` make them (target.source), or give audio.labels");
  const auto& w = config_.loss;
  const auto mask = draw_mask(heard, draws);
  const auto& hidden = mask.frames;
  const auto features_pen = heard.conv.to(torch::kFloat).square().mean();
  const auto x = encode(heard, mask, is_training() ? &draws : nullptr);  // [B, T, D]
  const auto counts = heard.label.ge(0).all(1) & ~heard.padding;         // [B, T]
  Scored masked, visible;
  if (w.masked_weight > 0) masked = score(x, heard.label, hidden & counts);
  if (w.unmasked_weight > 0) visible = score(x, heard.label, ~hidden & counts);
  const double S = std::max<double>(1, static_cast<double>(masked.count + visible.count));
  const double sets = w.mean_over_sets ? static_cast<double>(classes_.size()) : 1;
  Loss loss;
  auto total = w.features_pen * features_pen;
  const auto sum_up = [&](const Scored& scored, double weight, const std::string& part) {
    for (size_t j = 0; j < scored.loss.size(); ++j) {
      total = total + scored.loss[j] * (weight / (S * sets));
      loss.parts[str(part, "_", j)] = scored.loss[j].detach() / S;
    }
  };
  sum_up(masked, w.masked_weight, "m");
  sum_up(visible, w.unmasked_weight, "u");
  double right = 0;
  for (const auto& each : masked.right) right += each.item<double>();
  if (masked.count > 0)
    loss.stats["accuracy"] = right / static_cast<double>(masked.count * std::ssize(classes_));
  loss.total = total;
  loss.parts["features_pen"] = features_pen.detach();
  loss.weight = S;
  return loss;
}

Frames SpeechTargets::frames_to(const Batch& batch, int64_t last) const {
  const torch::NoGradGuard no_grad;
  const int64_t B = batch.wave.size(0);
  const auto samples = batch.wave_length.to(torch::kCPU);
  Frames out;
  out.length = torch::empty({B}, torch::kLong);
  std::vector<Tensor> rows;
  int64_t T = 0;
  for (int64_t b = 0; b < B; ++b) {
    // A clip shorter than one frame is filled with silence up to it.
    const int64_t n = std::max(samples[b].item<int64_t>(), config_.encoder.field());
    out.length[b] = config_.encoder.frames(n);
    T = std::max(T, out.length[b].item<int64_t>());
  }
  const bool alike = out.length.eq(T).all().item<bool>() && samples.eq(batch.wave.size(1)).all().item<bool>();
  Tensor conv;
  if (alike && batch.wave.size(1) >= config_.encoder.field()) {
    conv = feature_extractor_->forward(batch.wave);
  } else {
    // One by one: the group norm sees a whole row, and must not see what fills it.
    for (int64_t b = 0; b < B; ++b) {
      const int64_t n = samples[b].item<int64_t>();
      auto wave = batch.wave[b].slice(0, 0, n);
      if (n < config_.encoder.field()) wave = torch::constant_pad_nd(wave, {0, config_.encoder.field() - n});
      const auto row = feature_extractor_->forward(wave.unsqueeze(0));
      rows.push_back(torch::constant_pad_nd(row, {0, T - row.size(2)}));
    }
    conv = torch::cat(rows);
  }
  const auto padding = torch::arange(T).unsqueeze(0).ge(out.length.unsqueeze(1)).to(conv.device());
  const bool padded = padding.any().item<bool>();
  out.layers = encoder_->layers(project(conv, nullptr), padded ? padding : Tensor(), last);
  for (auto& layer : out.layers) layer = layer.to(torch::kFloat);
  return out;
}

Tensor SpeechTargets::features(const Batch& batch, const FeatureOptions& /*options*/) {
  const torch::NoGradGuard no_grad;
  const auto all = frames(batch);
  const auto& last = all.layers.back();  // [B, T, D]
  const auto inside =
      torch::arange(last.size(1)).unsqueeze(0).lt(all.length.unsqueeze(1)).to(last.device()).unsqueeze(-1);
  return (last * inside).sum(1) / all.length.to(last.device()).unsqueeze(1);
}

Preview SpeechTargets::preview(const Batch& batch, Draws& draws) {
  const torch::NoGradGuard no_grad;
  const auto heard = hear(batch);
  const int64_t B = batch.wave.size(0), T = heard.conv.size(2);
  const auto mask = draw_mask(heard, draws);
  const auto& hidden = mask.frames;
  const auto x = encode(heard, mask, nullptr);
  return {.wave = batch.wave,
          .wave_length = batch.wave_length,
          .hidden_frames = hidden,
          .frame_length = heard.length,
          .true_labels = heard.label.defined()
                             ? heard.label.select(1, 0)
                             : torch::full({B, T}, -1, hidden.options().dtype(torch::kLong)),
          .predicted_labels = logits(x.flatten(0, 1), 0).argmax(1).view({B, T})};
}

int64_t SpeechTargets::layer_of(const std::string& name) const {
  const std::string prefix = "encoder.layers.";
  if (name.starts_with(prefix)) return std::stoll(name.substr(prefix.size())) + 1;
  const bool head = name.starts_with("final_proj") || name.starts_with("label_embs") ||
                    name.starts_with("target_glu") || name.starts_with("encoder.layer_norm");
  return head ? layers() - 1 : 0;
}

namespace {

const Register<MethodInfo> registered{
    "speech-targets",
    {.title = "Exploring Prediction Targets in Masked Pre-Training for Speech Foundation Models",
     .paper =
         "Chen, Higuchi, Bai, Abdelaziz, Watanabe, Rudnicky, Likhomanenko, Theobald, Aldeneh; 2024; arXiv "
         "2409.10788; on HuBERT (Hsu et al., 2021; arXiv 2106.07447)",
     .code = "base system: facebookresearch/fairseq @ 3d262bb (MIT); none found for the paper",
     .summary =
         "HuBERT hides spans of speech and names, for every hidden frame, a discrete label made "
         "beforehand: clusters of MFCC, of one layer or several of an earlier model, or the codes of a "
         "residual quantiser. What the labels are made of decides what the features are good for.",
     .parts = {"masker: spans of 10 frames, about half of all frames hidden; channels too where asked for",
               "encoder: convolutions over the waveform, positional convolution, transformer",
               "predictor: cosine with a learnt vector for each class, a projection for each label set",
               "target: k-means of MFCC or of layers, several sets at once, residual VQ",
               "loss: cross-entropy on hidden frames, and a small penalty on the front-end's features"},
     .defaults = {"train.lr=5e-4", "train.schedule=polynomial", "train.steps=400000",
                  "train.weight_decay=0.01", "train.betas=[0.9, 0.98]", "train.eps=1e-6",
                  "train.clip_grad=10"},
     .make_config = [] { return std::make_unique<SpeechTargetsConfig>(); },
     .make =
         [](const MethodConfig& config, Draws& draws) {
           return std::make_shared<SpeechTargets>(dynamic_cast<const SpeechTargetsConfig&>(config), draws);
         },
     .tiny = {"encoder.arch=hubert", "encoder.conv_layers=[(16,10,5)] + [(16,8,8)] * 2",
              "encoder.embed_dim=16", "encoder.depth=2", "encoder.num_heads=2", "encoder.conv_pos=8",
              "encoder.conv_pos_groups=2", "predictor.final_dim=8", "target.num_classes=[5]",
              "audio.min_samples=1000", "audio.max_samples=16000"},
     .names = speech_weight_names(),
     .modality = "audio",
     .unused_parameters = true}};

}  // namespace
}  // namespace lacuna
