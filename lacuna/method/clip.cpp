#include "lacuna/method/clip.h"

#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/clip_names.h"
#include "lacuna/text/byte_tokenizer.h"

namespace lacuna {

namespace {

/// Tokens up to the longest text's end: what lies behind can't be seen from it.
Tensor without_filling(const Tensor& tokens, const Tensor& end) {
  return tokens.slice(1, 0, end.max().item<int64_t>() + 1);
}

/// Share of the pictures whose likeliest text is theirs, or one of the same words.
double share_right(const Tensor& similarity, const Tensor& tokens) {
  const auto best = tokens.index_select(0, similarity.argmax(1));
  return best.eq(tokens).all(1).to(torch::kDouble).mean().item<double>();
}

}  // namespace

void ClipLossConfig::fields(Fields& f) {
  f("temperature", temperature, "the cosines are divided by it at the start; it is learned").range(1e-3);
  f("max_scale", max_scale, "one over the temperature never grows above this; 0: it may").range(0);
}

void ClipProjectionConfig::fields(Fields& f) {
  f("dim", dim, "dimensions of the space that pictures and texts share").range(1);
}

void ClipConfig::fields(Fields& f) {
  f.group("encoder", encoder);
  f.group("text", text);
  f.group("projection", projection);
  f.group("loss", loss);
}

void ClipConfig::resolve(const ConfigTable& table) { nn::resolve_clip(table, encoder, text, projection.dim); }

Clip::Clip(const ClipConfig& config, Draws& draws) : config_(config) {
  visual_ =
      register_module("visual", std::make_shared<nn::ClipVision>(config.encoder, config.projection.dim));
  text_ = std::make_shared<nn::ClipText>(config.text, config.projection.dim);
  nn::adopt(*this, *text_);
  logit_scale_ =
      register_parameter("logit_scale", torch::tensor(-std::log(config.loss.temperature), torch::kFloat));
  gather_ = register_module("gather", std::make_shared<nn::RowGather>());
  visual_->initialize(draws);
  text_->initialize(draws);
}

Loss Clip::forward(const Batch& batch, Draws& /*draws*/) {
  const auto image = nn::unit_rows(visual_->forward(batch.image).to(torch::kFloat));
  const auto text = nn::unit_rows(text_features(batch.tokens).to(torch::kFloat));
  const int64_t B = image.size(0), E = image.size(1);
  const auto gathered = gather_->forward(torch::cat({image, text}, 1));
  const auto images = gathered.all.slice(1, 0, E), texts = gathered.all.slice(1, E);
  const auto by_image = scale() * image.mm(texts.t()), by_text = scale() * text.mm(images.t());
  const auto total = contrastive_loss(by_image, by_text, gathered.first);
  const auto own = torch::arange(gathered.first, gathered.first + B, by_image.device());
  const auto right = by_image.argmax(1).eq(own).to(torch::kFloat).mean().item<double>();
  Loss loss{.total = total, .parts = {}, .stats = {}};
  loss.stats["batch_top1"] = right;
  loss.stats["logit_scale"] = scale().item<double>();
  if (!gathered.even) loss.weight = static_cast<double>(B);
  return loss;
}

void Clip::after_step(const Progress& /*progress*/) {
  const torch::NoGradGuard no_grad;
  if (config_.loss.max_scale > 0) logit_scale_.clamp_max_(std::log(config_.loss.max_scale));
}

Tensor Clip::text_features(const Tensor& tokens) const {
  const auto end = tokens.ge(0).sum(1) - 1;
  return text_->forward(without_filling(tokens, end), end);
}

Tensor Clip::features(const Batch& batch, const FeatureOptions& options) {
  const torch::NoGradGuard no_grad;
  if (options.pool == "default") return visual_->forward(batch.image).to(torch::kFloat);
  const auto x = visual_->norm(visual_->hidden(batch.image));
  return (options.pool == "token" ? x.select(1, 0) : x.slice(1, 1).mean(1)).to(torch::kFloat);
}

Tensor Clip::tokens(const Batch& batch) {
  const torch::NoGradGuard no_grad;
  return visual_->norm(visual_->hidden(batch.image)).to(torch::kFloat);
}

Preview Clip::preview(const Batch& batch, Draws& /*draws*/) {
  const torch::NoGradGuard no_grad;
  Preview out;
  out.image = batch.image;
  out.tokens = batch.tokens.cpu();
  const auto image = nn::unit_rows(visual_->forward(batch.image).to(torch::kFloat));
  const auto text = nn::unit_rows(text_features(batch.tokens).to(torch::kFloat));
  out.similarity = image.mm(text.t()).cpu();
  const double chance = 1.0 / static_cast<double>(batch.image.size(0));
  if (chance < 1) out.explained = (share_right(out.similarity, out.tokens) - chance) / (1 - chance);
  return out;
}

InputSpec Clip::input() const {
  InputSpec spec{config_.encoder.in_chans, config_.encoder.img_size};
  spec.modality = "captioned";
  spec.tokens = config_.text.context_length;
  return spec;
}

std::map<std::string, Tensor> Clip::adapt(std::map<std::string, Tensor> weights, const Json& source) const {
  const auto found = weights.find("visual.positional_embedding");
  if (found == weights.end()) return weights;
  nn::ClipVisionConfig from;
  ConfigTable table;
  table.add("encoder", from);
  for (const auto& [key, value] : leaves(source))
    if (table.has(key)) table.set(key, value, "the weights' config");
  if (found->second.size(0) == 1 + from.grid().area())
    found->second = nn::resize_clip_positions(found->second, from.grid(), config_.encoder.grid());
  return weights;
}

Tensor contrastive_loss(const Tensor& by_image, const Tensor& by_text, int64_t first) {
  const auto own = torch::arange(first, first + by_image.size(0), by_image.device());
  return (torch::cross_entropy_loss(by_image, own) + torch::cross_entropy_loss(by_text, own)) / 2;
}

namespace {

/// Beside the networks themselves, OpenAI's archives hold three numbers.
bool to_official(WeightNames::Tensors& tensors) {
  if (nn::is_hf_clip(tensors)) {
    tensors = nn::clip_from_hf(tensors);
    return true;
  }
  if (!nn::is_clip(tensors)) return false;
  for (const char* extra : {"input_resolution", "context_length", "vocab_size"}) tensors.erase(extra);
  return true;
}

WeightNames::Tensors from_official(const WeightNames::Tensors& tensors, const std::string& format) {
  if (format != "hf")
    fail(str("export --format ", format), "there is no CLIP under such names", "use --format hf or official");
  return nn::clip_to_hf(tensors);
}

Json infer(const WeightNames::Tensors& tensors) {
  Json out = nn::clip_sizes(tensors);
  if (out.is_null()) return out;
  // What OpenAI's networks were trained with.
  out["data"] = {{"mean", {0.48145466, 0.4578275, 0.40821073}},
                 {"std", {0.26862954, 0.26130258, 0.27577711}}};
  return out;
}

/// Start and end of a text, where transformers reads it. OpenAI's are the last two numbers.
text::SpecialIds special_tokens(const std::string& path, int64_t vocabulary) {
  const auto tokenizer = path.empty() ? text::byte_tokenizer() : text::open_tokenizer(path);
  auto special = tokenizer->special();
  if (tokenizer->vocab_size() != vocabulary || !special.end) special = {};
  special.begin = special.begin.value_or(static_cast<int32_t>(vocabulary) - 2);
  special.end = special.end.value_or(static_cast<int32_t>(vocabulary) - 1);
  return special;
}

/// config.json and preprocessor_config.json of a CLIPModel.
std::map<std::string, Json> describe(const ConfigTable& table, const std::string& /*format*/) {
  const auto get = [&](const char* key) { return table.get(key); };
  const auto tower = [&](const std::string& group) {
    const auto width = get((group + ".embed_dim").c_str()).get<int64_t>();
    const auto ratio = get((group + ".mlp_ratio").c_str()).get<double>();
    return Json{{"hidden_size", width},
                {"intermediate_size", std::lround(static_cast<double>(width) * ratio)},
                {"num_hidden_layers", get((group + ".depth").c_str())},
                {"num_attention_heads", get((group + ".num_heads").c_str())},
                {"hidden_act", get((group + ".act").c_str())},
                {"layer_norm_eps", get((group + ".norm_eps").c_str())},
                {"projection_dim", get("projection.dim")}};
  };
  const auto size = get("encoder.img_size"), patch = get("encoder.patch_size"),
             stride = get("encoder.stride");
  const bool overlaps = stride != Json{0, 0} && stride != patch;
  if (size[0] != size[1] || patch[0] != patch[1] || overlaps)
    fail("export --format hf", "transformers' CLIPModel has square pictures and patches side by side",
         "use --format official");
  Json image = tower("encoder"), text = tower("text");
  image["image_size"] = size[0], image["patch_size"] = patch[0];
  image["num_channels"] = get("encoder.in_chans");
  const auto vocabulary = get("text.vocab_size").get<int64_t>();
  text["max_position_embeddings"] = get("text.context_length");
  text["vocab_size"] = vocabulary;
  const auto special = special_tokens(get("caption.tokenizer").get<std::string>(), vocabulary);
  text["bos_token_id"] = *special.begin, text["eos_token_id"] = *special.end, text["pad_token_id"] = 0;
  const Json config = {{"model_type", "clip"},
                       {"architectures", {"CLIPModel"}},
                       {"projection_dim", get("projection.dim")},
                       {"logit_scale_init_value", -std::log(get("loss.temperature").get<double>())},
                       {"vision_config", image},
                       {"text_config", text}};
  const Json preprocessor = {{"image_processor_type", "CLIPImageProcessor"},
                             {"do_resize", true},
                             {"size", {{"shortest_edge", size[0]}}},
                             {"resample", 3},
                             {"do_center_crop", true},
                             {"crop_size", {{"height", size[0]}, {"width", size[1]}}},
                             {"do_rescale", true},
                             {"rescale_factor", 1.0 / 255},
                             {"do_normalize", true},
                             {"image_mean", get("data.mean")},
                             {"image_std", get("data.std")}};
  return {{"config.json", config}, {"preprocessor_config.json", preprocessor}};
}

const Register<MethodInfo> registered{
    "clip",
    {.title = "Learning Transferable Visual Models From Natural Language Supervision",
     .paper =
         "Radford, Kim, Hallacy, Ramesh, Goh, Agarwal, Sastry, Askell, Mishkin, Clark, Krueger, Sutskever; "
         "ICML 2021; arXiv 2103.00020",
     .code = "openai/CLIP (MIT), as kept in wuw2019/R-AMT @ 07f8d2c (code/clip)",
     .summary =
         "A picture and a text are mapped into one space, where each must find its partner among all of "
         "the batch. Afterwards texts name pictures: classes without training (eval zeroshot), search "
         "both ways (eval retrieval). Nothing is masked; masked methods build on its weights.",
     .parts = {"masker: none", "encoders: ViT for pictures, causal transformer for texts",
               "target: the other half of the pair, negatives from all processes",
               "loss: symmetric cross-entropy of scaled cosines; the scale is learned and clipped",
               "evaluation: zeroshot, retrieval"},
     .defaults = {"train.lr=5e-4", "train.epochs=32", "train.batch_size=1024", "train.weight_decay=0.2",
                  "train.betas=[0.9, 0.98]", "train.eps=1e-6", "train.warmup_epochs=0.16",
                  "train.schedule=cosine", "augment.scale=[0.9, 1.0]", "augment.flip=0",
                  "augment.interpolation=bicubic"},
     .make_config = [] { return std::make_unique<ClipConfig>(); },
     .make =
         [](const MethodConfig& config, Draws& draws) {
           return std::make_shared<Clip>(dynamic_cast<const ClipConfig&>(config), draws);
         },
     .tiny = {"encoder.arch=clip_vit", "encoder.depth=1", "encoder.embed_dim=16", "encoder.num_heads=2",
              "text.embed_dim=16", "text.depth=1", "text.num_heads=2", "text.context_length=16",
              "text.vocab_size=300", "projection.dim=8"},
     .smallest_batch = 2,
     .names = {to_official, from_official, infer, describe},
     .modality = "captioned"}};

}  // namespace
}  // namespace lacuna
