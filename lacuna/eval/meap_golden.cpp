// Golden cases of MEAP: a step of pre-training, rows and a step of fine-tuning, the course of masks and rate.

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/dialogue.h"
#include "lacuna/method/golden_texts.h"
#include "lacuna/method/meap.h"
#include "lacuna/train/schedule.h"

namespace lacuna::eval {
namespace {

constexpr int64_t kNothing = -100;  // the official label of a place where nothing is to be said

// Card key -> our key.
const std::vector<std::pair<std::string, std::string>> kRenames = {
    {"encoder.hidden_size", "encoder.embed_dim"},
    {"encoder.num_hidden_layers", "encoder.depth"},
    {"encoder.num_attention_heads", "encoder.num_heads"},
    {"encoder.num_key_value_heads", "encoder.num_kv_heads"},
    {"encoder.intermediate_size", "encoder.mlp_dim"},
    {"encoder.rms_norm_eps", "encoder.norm_eps"},
    {"encoder.rope_theta", "encoder.rope_base"},
    {"encoder.hidden_act", "encoder.activation"},
    {"encoder.tie_word_embeddings", "encoder.tie_embeddings"},
    {"encoder.max_position_embeddings", "encoder.context"},
    {"mask.mask_ratio", "mask.ratio"},
    {"mask.mask_token_id", "mask.token_id"},
    {"mask.block_size", "encoder.context"},
    {"mask.last_position_never_masked", "mask.keep_last"},
    {"mask.step", ""},
    {"sft.max_length", "encoder.context"},
    {"sft.mask_ratio", ""},
    {"sft.min_target_tokens_to_mask", ""},
    {"sft.mask_token_id", "mask.token_id"},
    {"sft.bos_token_id", ""},
    {"sft.eos_token_id", ""},
    {"sft.pad_token_id", ""}};

std::shared_ptr<Meap> build(const GoldenCase& golden) {
  auto document = rename_keys(golden.config, kRenames);
  auto& activation = document["encoder"]["activation"];
  if (activation == "gelu_pytorch_tanh" || activation == "gelu_new") activation = "gelu_tanh";
  if (activation.is_null()) activation = "silu";
  MeapConfig config;
  config.resolve(table_of(config, document));
  SeededDraws draws(0);
  auto model = std::make_shared<Meap>(config, draws);
  load_weights(*model, golden.weights, "weights.safetensors");
  return model;
}

/// mask_positions [n]: shared by all texts; [B, n]: each its own.
Tensor hidden_of(const Tensor& positions, int64_t texts, int64_t tokens) {
  auto hidden = torch::zeros({texts, tokens}, torch::kBool);
  return hidden.scatter_(1, positions.dim() == 1 ? positions.expand({texts, -1}) : positions, true);
}

io::Tensors pretrain_step(const GoldenCase& golden) {
  const auto model = build(golden);
  const auto tokens = golden.input("tokens").to(torch::kLong);
  const int64_t T = tokens.size(1) - 1;
  const auto ids = tokens.slice(1, 0, T), target = tokens.slice(1, 1);
  const auto positions = golden.input("mask_positions").to(torch::kLong);
  const auto seen = model->masked(ids, hidden_of(positions, tokens.size(0), T));
  io::Tensors out;
  out["input_ids"] = seen;
  out["loss"] = model->next_token(seen, target).loss;
  out["loss"].backward();
  add_gradients(*model, out);
  const torch::NoGradGuard no_grad;
  out["loss.unmasked_input"] = model->next_token(ids, target).loss;
  out["pred"] = model->network().logits(model->network().hidden(seen));
  return out;
}

std::vector<int32_t> narrowed(const std::vector<int64_t>& ids) { return {ids.begin(), ids.end()}; }

std::vector<data::DialogueRow> rows_of(const GoldenCase& golden) {
  const auto& sft = golden.config.at("sft");
  data::DialogueRules rules;
  rules.max_length = sft.value("max_length", rules.max_length);
  rules.min_answer = sft.value("min_target_tokens_to_mask", rules.min_answer);
  rules.ratio = sft.value("mask_ratio", rules.ratio);
  rules.begin_id = sft.value("bos_token_id", rules.begin_id);
  rules.end_id = sft.value("eos_token_id", rules.end_id);
  rules.mask_id = sft.value("mask_token_id", rules.mask_id);
  const auto turns = golden_lists(golden, "turn_ids", "turn_offset");
  std::vector<data::Exchange> exchanges;
  for (size_t i = 0; i + 1 < turns.size(); i += 2)
    exchanges.push_back({narrowed(turns[i]), narrowed(turns[i + 1])});
  const auto positions = golden_lists(golden, "mask_positions", "mask_offset");
  size_t next = 0;
  return data::dialogue_rows(exchanges, rules, [&](int64_t, int64_t, int64_t count) {
    if (next >= positions.size() || std::ssize(positions[next]) != count)
      fail("mask_positions", str("masked row ", next, " needs ", count), "record the case again");
    return positions[next++];
  });
}

/// Rows of different lengths as one tensor, `fill` behind each.
Tensor padded(const std::vector<std::vector<int32_t>>& rows, int64_t fill) {
  std::vector<Tensor> parts;
  for (const auto& row : rows) parts.push_back(torch::tensor(row, torch::kLong));
  return at::pad_sequence(parts, true, static_cast<double>(fill));
}

io::Tensors sft_step(const GoldenCase& golden) {
  const auto model = build(golden);
  std::vector<std::vector<int32_t>> tokens, labels;
  for (auto& row : rows_of(golden)) {
    tokens.push_back(std::move(row.tokens));
    labels.push_back(std::move(row.labels));
  }
  io::Tensors out;
  add_golden_ids(out, tokens, "input_ids", "offset");
  add_golden_ids(out, labels, "labels", "offset");
  out["labels"] = out["labels"].masked_fill(out["labels"] < 0, kNothing);
  const auto ids = padded(tokens, golden.config.at("sft").value("pad_token_id", int64_t{0})),
             target = padded(labels, -1);
  std::vector<Tensor> each;
  {
    const torch::NoGradGuard no_grad;
    for (int64_t i = 0; i < ids.size(0); ++i)
      each.push_back(
          model->next_token(ids.slice(0, i, i + 1).slice(1, 0, -1), target.slice(0, i, i + 1).slice(1, 1))
              .loss);
  }
  out["loss_per_row"] = torch::stack(each);
  Batch batch;
  batch.tokens = ids;
  batch.token_label = target;
  SeededDraws draws(0);
  out["loss"] = model->forward(batch, draws).total;
  out["loss"].backward();
  add_gradients(*model, out);
  return out;
}

io::Tensors schedule(const GoldenCase& golden) {
  const auto& config = golden.config;
  mask::TokenMaskConfig mask;
  mask.ratio = config.value("mask_ratio", mask.ratio);
  std::vector<Tensor> positions;
  const auto steps = golden.input("steps").to(torch::kLong);
  for (int64_t i = 0; i < steps.size(0); ++i)
    positions.push_back(
        mask::shared_positions(mask, config.at("block_size").get<int64_t>(), steps[i].item<int64_t>()));
  const auto accum = config.value("gradient_accumulation_steps", 1.0);
  const auto iterations = golden.input("iterations").to(torch::kDouble);
  std::vector<double> rates;
  for (int64_t i = 0; i < iterations.size(0); ++i)
    rates.push_back(
        train::cosine_lr(iterations[i].item<double>() / accum, config.at("max_step").get<double>(),
                         config.at("warmup_steps").get<double>(), config.at("learning_rate").get<double>(),
                         config.at("min_lr").get<double>()));
  return {{"mask_positions", torch::stack(positions)}, {"lr", torch::tensor(rates, torch::kDouble)}};
}

const Register<GoldenKind> kPretrain{"meap/pretrain-step", {pretrain_step}};
const Register<GoldenKind> kSft{"meap/sft-step", {sft_step}};
const Register<GoldenKind> kSchedule{"meap/schedule", {schedule}};

}  // namespace
}  // namespace lacuna::eval
