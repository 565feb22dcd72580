#include "lacuna/method/speech_ctc.h"

#include <optional>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/method/speech_targets_names.h"
#include "lacuna/nn/dropout.h"
#include "lacuna/nn/init.h"

namespace lacuna {

namespace {

const std::string kModel = "w2v_encoder.w2v_model.";

SpeechTargetsConfig encoder_config(const SpeechCtcConfig& config) {
  SpeechTargetsConfig out;
  out.encoder = config.encoder;
  out.mask = config.mask, out.channel_mask = config.channel_mask;
  out.target.num_classes.clear();
  return out;
}

bool is_predictor(const std::string& name) {
  return name.starts_with("final_proj.") || name.starts_with("label_embs_concat") ||
         name.starts_with("target_glu.");
}

}  // namespace

void CtcHeadConfig::fields(Fields& f) {
  f("tokens", tokens, "what is recognised; empty: every token of the data's transcripts");
  f("unit", unit, "tokens are characters, with | between words, or whole words").choices({"char", "word"});
  f("words", words, "what the records of each class say, for data without transcripts");
  f("freeze_share", freeze_share, "share of the steps in which the head alone learns; 1: all of them")
      .range(0, 1);
  f("dropout", dropout, "dropout before the head").range(0, 0.99);
  f("weighted", weighted,
    "the head reads a learnt weighted sum of all layers of a frozen encoder, without masks (SUPERB)");
}

SpeechCtcConfig::SpeechCtcConfig() {
  encoder.dropout = 0, encoder.attention_dropout = 0, encoder.activation_dropout = 0.1;
  encoder.dropout_input = 0, encoder.layerdrop = 0.1, encoder.feature_grad_mult = 0;
}

void SpeechCtcConfig::fields(Fields& f) {
  f.group("encoder", encoder);
  f.group("mask", mask);
  f.group("channel_mask", channel_mask);
  f.group("head", head);
}

void SpeechCtcConfig::resolve(const ConfigTable& table) { encoder.resolve(table, "encoder"); }

SpeechCtc::SpeechCtc(const SpeechCtcConfig& config, Draws& draws) : config_(config) {
  if (config.head.tokens.empty())
    fail("head.tokens", "is empty: there is nothing to recognise",
         "use data with transcripts (docs/audio.md)");
  const auto outer = register_module("w2v_encoder", std::make_shared<torch::nn::Module>());
  model_ =
      outer->register_module("w2v_model", std::make_shared<SpeechTargets>(encoder_config(config), draws));
  const int64_t classes = std::ssize(config.head.tokens) + 1;
  proj_ = outer->register_module("proj", std::make_shared<nn::Linear>(config.encoder.embed_dim, classes));
  nn::xavier_uniform_(proj_->weight, draws, kModel + "proj.weight");
  if (config.head.weighted) {
    layer_weights_ = outer->register_parameter("layer_weights", torch::zeros({config.encoder.depth + 1}));
    for (auto& parameter : model_->parameters()) parameter.requires_grad_(false);
  }
}

void SpeechCtc::before_step(const Progress& progress) {
  model_->before_step(progress);
  frozen_ =
      static_cast<double>(progress.step) < config_.head.freeze_share * static_cast<double>(progress.steps);
}

Tensor SpeechCtc::weighted(const std::vector<Tensor>& layers) const {
  const auto weights = layer_weights_.softmax(0);
  Tensor out;
  for (size_t l = 0; l < layers.size(); ++l) {
    const auto part = layers[l] * weights[static_cast<int64_t>(l)];
    out = out.defined() ? out + part : part;
  }
  return out;
}

Tensor SpeechCtc::scores(const Tensor& x) const {
  return torch::log_softmax(proj_->forward(x).to(torch::kFloat), -1);
}

Loss SpeechCtc::forward(const Batch& batch, Draws& draws) {
  if (!batch.tokens.defined())
    fail("speech-ctc", "the data have no transcripts to learn",
         "put KEY.txt beside the sounds, or give head.words (docs/audio.md)");
  Draws* own = is_training() ? &draws : nullptr;
  Tensor x, length;
  if (config_.head.weighted) {
    const auto frames = model_->frames(batch);
    x = weighted(frames.layers), length = frames.length;
  } else {
    std::optional<torch::NoGradGuard> frozen;
    if (frozen_) frozen.emplace();
    const auto heard = model_->hear(batch);
    x = model_->encode(heard, own ? model_->draw_mask(heard, draws) : SpeechTargets::Mask{}, own);
    length = heard.length;
  }
  x = nn::dropout(x, config_.head.dropout, "head.dropout", own);
  const auto log_probs = scores(x).transpose(0, 1);  // [T, B, 1 + V]
  const auto tokens = batch.tokens.to(torch::kCPU);
  const auto counts = tokens.ge(0).sum(1);
  const auto each = torch::ctc_loss(log_probs, (tokens + 1).clamp_min(0).to(log_probs.device()),
                                    length.to(torch::kLong), counts, /*blank=*/0, at::Reduction::None,
                                    /*zero_infinity=*/true);
  const double kept = each.detach().gt(0).to(torch::kFloat).mean().item<double>();
  return {.total = each.mean(), .parts = {}, .stats = {{"fits", kept}}};
}

SpeechCtc::Heard SpeechCtc::hear(const Batch& batch) const {
  const torch::NoGradGuard no_grad;
  const auto frames = model_->frames(batch);
  const auto x = config_.head.weighted ? weighted(frames.layers) : model_->last_norm(frames.layers.back());
  return {scores(x), frames.length};
}

Tensor SpeechCtc::features(const Batch& batch, const FeatureOptions& options) {
  return model_->features(batch, options);
}

Preview SpeechCtc::preview(const Batch& batch, Draws& draws) {
  const torch::NoGradGuard no_grad;
  const auto heard = model_->hear(batch);
  const auto mask = config_.head.weighted ? SpeechTargets::Mask{} : model_->draw_mask(heard, draws);
  const auto nothing = torch::zeros({batch.wave.size(0), heard.conv.size(2)}, torch::kBool);
  return {.wave = batch.wave,
          .wave_length = batch.wave_length,
          .hidden_frames = mask.frames.defined() ? mask.frames : nothing,
          .frame_length = heard.length};
}

std::map<std::string, Tensor> SpeechCtc::adapt(std::map<std::string, Tensor> given,
                                               const Json& /*source*/) const {
  std::map<std::string, Tensor> out;
  for (const auto& [name, tensor] : given) {
    if (name.starts_with("w2v_encoder."))
      out[name] = tensor;
    else if (!is_predictor(name))
      out[kModel + name] = tensor;
  }
  for (const auto& [name, tensor] : weights())
    if (!name.starts_with(kModel)) out.emplace(name, tensor);
  return out;
}

namespace {

const Register<MethodInfo> registered{
    "speech-ctc",
    {.title = "Speech recognition by connectionist temporal classification",
     .paper = "the fine-tuning of HuBERT (Hsu et al., 2021; arXiv 2106.07447) with CTC (Graves et al., ICML "
              "2006)",
     .code = "facebookresearch/fairseq @ 3d262bb: models/hubert/hubert_asr.py, "
             "examples/hubert/config/finetune/base_10h.yaml",
     .summary =
         "A linear layer on HuBERT's encoder, trained on transcripts without alignments. `lacuna eval "
         "ctc` trains it from pre-trained weights and counts wrong tokens; `lacuna pretrain speech-ctc` "
         "from scratch, as the baseline.",
     .parts = {"masker: spans of frames and of channels, as SpecAugment's",
               "encoder: convolutions over the waveform, positional convolution, transformer",
               "predictor: a linear layer on the last block, or on a weighted sum of all",
               "target: the transcript's characters or words", "loss: CTC"},
     .defaults = {"train.lr=2e-5", "train.schedule=tri_stage", "train.steps=25000", "train.batch_size=8",
                  "train.weight_decay=0", "train.betas=[0.9, 0.98]", "train.eps=1e-8", "audio.crop=longest",
                  "audio.batch_samples=0", "audio.min_samples=400", "audio.max_samples=16000000"},
     .make_config = [] { return std::make_unique<SpeechCtcConfig>(); },
     .make =
         [](const MethodConfig& config, Draws& draws) {
           return std::make_shared<SpeechCtc>(dynamic_cast<const SpeechCtcConfig&>(config), draws);
         },
     .tiny = {"encoder.arch=hubert", "encoder.conv_layers=[(16,10,5)] + [(16,8,8)] * 2",
              "encoder.embed_dim=16", "encoder.depth=2", "encoder.num_heads=2", "encoder.conv_pos=8",
              "encoder.conv_pos_groups=2", "channel_mask.length=4",
              "head.words=[\"0\", \"1\", \"2\", \"3\", "
              "\"4\", \"5\", \"6\", \"7\", \"8\", \"9\"]"},
     .names = ctc_weight_names(),
     .modality = "audio",
     .unused_parameters = true}};

}  // namespace
}  // namespace lacuna
