// Golden cases of speech-targets pre-training: fairseq's HubertModel and HubertCriterion, by the card's
// names.

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/method/golden.h"
#include "lacuna/method/speech_targets.h"

namespace lacuna {
namespace {

constexpr double kAbsent = -1e4;  // how the case stores the true class among the negatives

// Card key -> our key; "" where the official code has a key that changes nothing (or always one value) here.
const std::vector<std::pair<std::string, std::string>> kRenames = {
    {"encoder.extractor_mode", ""},
    {"encoder.conv_feature_layers", "encoder.conv_layers"},
    {"encoder.encoder_layers", "encoder.depth"},
    {"encoder.encoder_embed_dim", "encoder.embed_dim"},
    {"encoder.encoder_ffn_embed_dim", ""},
    {"encoder.encoder_attention_heads", "encoder.num_heads"},
    {"encoder.activation_fn", "encoder.activation"},
    {"encoder.layer_type", ""},
    {"encoder.encoder_layerdrop", "encoder.layerdrop"},
    {"encoder.dropout_features", ""},
    {"encoder.final_dim", "predictor.final_dim"},
    {"encoder.untie_final_proj", "predictor.untie"},
    {"encoder.layer_norm_first", "encoder.pre_norm"},
    {"encoder.logit_temp", "predictor.logit_temp"},
    {"encoder.target_glu", "predictor.target_glu"},
    {"encoder.conv_pos_batch_norm", ""},
    {"encoder.skip_masked", ""},
    {"encoder.skip_nomask", ""},
    {"encoder.checkpoint_activations", ""},
    {"encoder.required_seq_len_multiple", ""},
    {"mask.mask_length", "mask.length"},
    {"mask.mask_prob", "mask.prob"},
    {"mask.mask_selection", "mask.selection"},
    {"mask.mask_other", "mask.other"},
    {"mask.no_mask_overlap", "mask.no_overlap"},
    {"mask.mask_min_space", "mask.min_space"},
    {"mask.mask_channel_length", "channel_mask.length"},
    {"mask.mask_channel_prob", "channel_mask.prob"},
    {"mask.mask_channel_selection", "channel_mask.selection"},
    {"mask.mask_channel_other", "channel_mask.other"},
    {"mask.no_mask_channel_overlap", "channel_mask.no_overlap"},
    {"mask.mask_channel_min_space", "channel_mask.min_space"},
    {"mask.min_masks", "mask.min_spans"},
    {"mask.require_same_masks", "mask.require_same"},
    {"target.sample_rate", ""},
    {"target.label_rate", ""},
    {"loss.pred_masked_weight", "loss.masked_weight"},
    {"loss.pred_nomask_weight", "loss.unmasked_weight"},
    {"loss.loss_weights", ""},
};

SpeechTargetsConfig config_of(const GoldenCase& golden) {
  SpeechTargetsConfig config;
  ConfigTable table;
  table.add("", config);
  table.set("encoder.arch", "hubert", "case.toml");
  table.merge(rename_keys(golden.config, kRenames), "case.toml");
  const auto& encoder = golden.config.at("encoder");
  if (encoder.value("layer_type", "transformer") != "transformer" ||
      encoder.value("conv_pos_batch_norm", false))
    fail("case.toml", "asks for conformer blocks or a batch norm before the positions, which HuBERT has not",
         "use layer_type = transformer and conv_pos_batch_norm = false");
  if (encoder.value("extractor_mode", "default") == "layer_norm") config.encoder.conv_norm = "layer";
  if (encoder.contains("encoder_ffn_embed_dim"))
    config.encoder.mlp_ratio =
        encoder.at("encoder_ffn_embed_dim").get<double>() / static_cast<double>(config.encoder.embed_dim);
  const auto weights = golden.config.value("/loss/loss_weights"_json_pointer, Json::array());
  if (!weights.empty()) config.loss.features_pen = weights.front().get<double>();
  config.resolve(table);
  config.label_rate = golden.config.at("target").value("label_rate", 50.0);
  config.sample_rate = golden.config.at("target").value("sample_rate", int64_t{16000});
  return config;
}

Batch batch_of(const GoldenCase& golden, size_t sets) {
  Batch batch;
  batch.wave = golden.input("source").to(torch::kDouble);
  batch.wave_length = golden.inputs.count("padding_mask") != 0
                          ? golden.input("padding_mask").logical_not().sum(1)
                          : torch::full({batch.wave.size(0)}, batch.wave.size(1), torch::kLong);
  std::vector<Tensor> labels;
  for (size_t j = 0; j < sets; ++j) labels.push_back(golden.input(str("target_", j)));
  batch.frame_label = torch::stack(labels, 1);
  for (int64_t b = 0; b < batch.wave.size(0); ++b) batch.sample.push_back(b);
  return batch;
}

/// Recorded draws of a mask over `size` places; else the mask itself, for cases that hold no draws.
Tensor recorded_mask(const GoldenCase& golden, const std::string& name, const mask::SpanConfig& config,
                     const Tensor& length, int64_t size) {
  const auto given = [&](const char* part) {
    const auto found = golden.inputs.find(name + part);
    return found != golden.inputs.end() ? found->second : Tensor();
  };
  const auto starts = given("_starts");
  const bool lengths_known = config.selection == "static" || given("_lengths").defined();
  if (!starts.defined() || !lengths_known) return golden.input(name).to(torch::kBool);
  auto keep = given("_keep");
  if (!keep.defined()) keep = torch::full({length.size(0), 1}, -1, torch::kLong);
  return mask::span_mask(config, length, size, {given("_u"), starts, keep, given("_lengths")});
}

SpeechTargets::Mask mask_of(const GoldenCase& golden, const SpeechTargetsConfig& config,
                            const SpeechTargets::Heard& heard) {
  const int64_t B = heard.conv.size(0), D = config.encoder.embed_dim;
  SpeechTargets::Mask out{torch::zeros({B, heard.conv.size(2)}, torch::kBool), {}};
  if (config.mask.prob > 0)
    out.frames = recorded_mask(golden, "mask", config.mask, heard.length, heard.conv.size(2));
  if (config.channel_mask.prob > 0)
    out.channels =
        recorded_mask(golden, "mask_channel", config.channel_mask, torch::full({B}, D, torch::kLong), D);
  return out;
}

/// The official layout: the true class's score in column 0, its own column emptied.
Tensor with_positive(const Tensor& scores, const Tensor& label) {
  const auto index = label.unsqueeze(1);
  return torch::cat({scores.gather(1, index), scores.scatter(1, index, kAbsent)}, 1);
}

io::Tensors pretrain(const GoldenCase& golden) {
  const auto config = config_of(golden);
  SeededDraws draws(0);
  auto model = std::make_shared<SpeechTargets>(config, draws);
  load_weights(*model, golden.weights, "weights.safetensors");
  // Sums over all frames lose digits in float32: the tolerance is left to the case's own rounding.
  model->to(torch::kDouble);
  const auto sets = config.target.num_classes.size();
  const auto batch = batch_of(golden, sets);
  const auto heard = model->hear(batch);
  const auto mask = mask_of(golden, config, heard);
  const auto& hidden = mask.frames;
  const auto x = model->encode(heard, mask, nullptr);

  io::Tensors out;
  const auto pen = heard.conv.square().mean();
  auto total = torch::zeros({}, torch::kDouble);
  double S = 0;
  const auto take = [&](const Tensor& chosen, const std::string& part, double weight) {
    const auto scored = model->score(x, heard.label, chosen);
    const auto rows = chosen.flatten().nonzero().flatten();
    for (size_t j = 0; j < sets; ++j) {
      const auto set = static_cast<int64_t>(j);
      out[str("loss.", part, "_", j)] = scored.loss[j];
      out[str("metric.correct_", part, "_", j)] = scored.right[j];
      out[str("metric.count_", part, "_", j)] = torch::tensor(scored.count);
      out[str("logit_", part, "_", j)] =
          with_positive(model->logits(x.flatten(0, 1).index_select(0, rows), set),
                        heard.label.select(1, set).flatten().index_select(0, rows));
      if (weight > 0) total = total + weight * scored.loss[j];
    }
    if (weight > 0) S += static_cast<double>(scored.count);
  };
  const auto& encoder = golden.config.at("encoder");
  if (!encoder.value("skip_masked", false)) take(hidden & ~heard.padding, "m", config.loss.masked_weight);
  if (!encoder.value("skip_nomask", false)) take(~hidden & ~heard.padding, "u", config.loss.unmasked_weight);
  out["features_pen"] = pen;
  out["loss.features_pen"] = config.loss.features_pen * pen * S;
  out["loss"] = total + out["loss.features_pen"];
  out["loss_mean"] = out["loss"] / S;
  out["sample_size"] = torch::tensor(S, torch::kFloat);
  out["latent"] = x;
  out["mask"] = hidden;
  if (mask.channels.defined()) out["mask_channel"] = mask.channels;
  out["frame_padding_mask"] = heard.padding;
  out["conv_features"] = heard.conv;
  model->zero_grad();
  out["loss"].backward();
  add_gradients(*model, out);
  {
    const torch::NoGradGuard no_grad;
    out["layer1_unmasked"] = model->blocks(heard, 1).back();
  }
  return out;
}

const Register<GoldenKind> registered{"speech-targets/pretrain", {pretrain}};

}  // namespace
}  // namespace lacuna
