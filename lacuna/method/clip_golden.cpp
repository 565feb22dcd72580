// Golden cases of CLIP: OpenAI's code and transformers' CLIPModel. One network, two readers of names.

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/method/clip.h"
#include "lacuna/method/golden.h"
#include "lacuna/nn/clip_names.h"

namespace lacuna {
namespace {

// Card key -> our key; heads follow from head_dim.
const std::vector<std::pair<std::string, std::string>> kOpenAI = {
    {"encoder.embed_dim", "projection.dim"},
    {"encoder.image_resolution", "encoder.img_size"},
    {"encoder.vision_layers", "encoder.depth"},
    {"encoder.vision_width", "encoder.embed_dim"},
    {"encoder.vision_patch_size", "encoder.patch_size"},
    {"encoder.context_length", "text.context_length"},
    {"encoder.vocab_size", "text.vocab_size"},
    {"encoder.transformer_width", "text.embed_dim"},
    {"encoder.transformer_layers", "text.depth"},
    {"encoder.transformer_heads", "text.num_heads"},
    {"encoder.head_dim", ""}};
const std::vector<std::pair<std::string, std::string>> kHf = {
    {"projection_dim", "projection.dim"},
    {"logit_scale_init_value", ""},
    {"layer_norm_eps", ""},  // of both towers: below
    {"text.use_attention_mask", ""},
    {"text_config.hidden_size", "text.embed_dim"},
    {"text_config.intermediate_size", ""},
    {"text_config.num_hidden_layers", "text.depth"},
    {"text_config.num_attention_heads", "text.num_heads"},
    {"text_config.max_position_embeddings", "text.context_length"},
    {"text_config.vocab_size", "text.vocab_size"},
    {"text_config.hidden_act", "text.act"},
    {"text_config.layer_norm_eps", "text.norm_eps"},
    {"text_config.eos_token_id", ""},
    {"text_config.bos_token_id", ""},
    {"text_config.pad_token_id", ""},
    {"text_config.projection_dim", ""},
    {"vision_config.hidden_size", "encoder.embed_dim"},
    {"vision_config.intermediate_size", ""},
    {"vision_config.num_hidden_layers", "encoder.depth"},
    {"vision_config.num_attention_heads", "encoder.num_heads"},
    {"vision_config.image_size", "encoder.img_size"},
    {"vision_config.patch_size", "encoder.patch_size"},
    {"vision_config.num_channels", "encoder.in_chans"},
    {"vision_config.hidden_act", "encoder.act"},
    {"vision_config.layer_norm_eps", "encoder.norm_eps"},
    {"vision_config.projection_dim", ""}};

/// `tensors`: the case's weights under OpenAI's names.
std::shared_ptr<Clip> build(const Json& document, const nn::NamedTensors& tensors) {
  ClipConfig config;
  config.encoder.arch = "clip_vit";
  config.resolve(table_of(config, document));
  SeededDraws draws(0);
  auto model = std::make_shared<Clip>(config, draws);
  load_weights(*model, tensors, "weights.safetensors");
  return model;
}

/// Unit vectors, logits, loss, and the gradients after it.
struct Compared {
  Tensor image, text, by_image, loss;
};
Compared compare(const Clip& model, const Tensor& image, const Tensor& text) {
  Compared out{nn::unit_rows(image), nn::unit_rows(text), {}, {}};
  out.by_image = model.scale() * out.image.mm(out.text.t());
  out.loss = contrastive_loss(out.by_image, out.by_image.t());
  out.loss.backward();
  return out;
}

nn::NamedTensors gradients(const Clip& model) {
  nn::NamedTensors out;
  for (const auto& item : model.named_parameters())
    if (item.value().grad().defined()) out[item.key()] = item.value().grad();
  return out;
}

void add(io::Tensors& out, const Compared& found, const nn::NamedTensors& gradients) {
  out["logits_per_image"] = found.by_image.detach();
  out["logits_per_text"] = found.by_image.t().detach();
  out["loss"] = found.loss.detach();
  for (const auto& [name, tensor] : gradients) out["grad." + name] = tensor;
}

io::Tensors openai(const GoldenCase& golden) {
  Json document = rename_keys(golden.config, kOpenAI);
  const auto& given = golden.config.at("encoder");
  const auto head = given.value("head_dim", int64_t{64});
  document["encoder"]["num_heads"] = given.at("vision_width").get<int64_t>() / head;
  if (!given.contains("transformer_heads"))
    document["text"]["num_heads"] = given.at("transformer_width").get<int64_t>() / head;
  const auto model = build(document, golden.weights);
  io::Tensors out;
  const auto image = model->visual().forward(golden.input("image"));
  const auto text = model->text().forward(golden.input("text"));
  out["image_features"] = image.detach();
  out["text_features"] = text.detach();
  add(out, compare(*model, image, text), gradients(*model));
  return out;
}

/// Where transformers reads a text: the first end token, or, of the oldest configs (2), the highest number.
Tensor end_of(const Tensor& ids, int64_t eos) {
  constexpr int64_t kOldest = 2;
  return eos == kOldest ? ids.argmax(1) : ids.eq(eos).to(torch::kInt).argmax(1);
}

io::Tensors hf(const GoldenCase& golden) {
  Json document = rename_keys(golden.config, kHf);
  for (const auto& [theirs, ours] :
       {std::pair("text_config", "text"), std::pair("vision_config", "encoder")}) {
    const auto& given = golden.config.at(theirs);
    if (given.contains("intermediate_size"))
      document[ours]["mlp_ratio"] =
          given.at("intermediate_size").get<double>() / given.at("hidden_size").get<double>();
    if (golden.config.contains("layer_norm_eps") && !given.contains("layer_norm_eps"))
      document[ours]["norm_eps"] = golden.config.at("layer_norm_eps");
  }
  const auto model = build(document, nn::clip_from_hf(golden.weights));
  const bool masked = golden.config.value("/text/use_attention_mask"_json_pointer, false);
  const auto& ids = golden.input("input_ids");
  io::Tensors out;
  const auto seen = model->visual().hidden(golden.input("pixel_values"));
  const auto pooled = model->visual().norm(seen.select(1, 0));
  const auto read = model->text().hidden(ids, masked ? golden.input("attention_mask") : Tensor());
  const auto last =
      nn::rows_at(read, end_of(ids, golden.config.at("text_config").value("eos_token_id", 49407)));
  out["vision.last_hidden_state"] = seen.detach();
  out["vision.pooler_output"] = pooled.detach();
  out["text.last_hidden_state"] = read.detach();
  out["text.pooler_output"] = last.detach();
  const auto found = compare(*model, model->visual().project(pooled), model->text().project(last));
  out["image_embeds"] = found.image.detach();
  out["text_embeds"] = found.text.detach();
  add(out, found, nn::clip_to_hf(gradients(*model)));
  return out;
}

const Register<GoldenKind> kOpenAIKind{"clip/openai", {openai}};
const Register<GoldenKind> kHfKind{"clip/hf", {hf}};

}  // namespace
}  // namespace lacuna
