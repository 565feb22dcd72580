// Golden cases of SimMIM pre-training: the official SimMIM's outputs by their names there.

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/method/golden.h"
#include "lacuna/method/simmim.h"

namespace lacuna {
namespace {

// Card key -> our key. The one decoder that the official code has; its stride follows from the encoder's.
const std::vector<std::pair<std::string, std::string>> kRenames = {
    {"encoder.drop_path_rate", "encoder.drop_path"}, {"decoder.type", ""}, {"decoder.encoder_stride", ""}};

std::shared_ptr<SimMIM> build(const GoldenCase& golden) {
  SimMIMConfig config;
  auto table = table_of(config, rename_keys(golden.config, kRenames));
  // The official constructor's default is no layer scale; TOML has no way to write its None.
  if (!table.is_set("encoder.init_values")) table.set("encoder.init_values", 0.0, "case.toml");
  config.resolve(table);
  SeededDraws unused(0);
  auto model = std::make_shared<SimMIM>(config, unused);
  load_weights(*model, golden.weights, "weights.safetensors");
  return model;
}

io::Tensors pretrain(const GoldenCase& golden) {
  const auto model = build(golden);
  Batch batch;
  batch.image = golden.input("imgs");
  RecordedDraws draws(golden.inputs);

  io::Tensors out;
  const auto loss = model->forward(batch, draws);
  loss.total.backward();
  out["loss"] = loss.total.detach();
  add_gradients(*model, out);

  const torch::NoGradGuard no_grad;
  const auto hidden = model->draw_mask(batch.image.size(0), draws);
  const auto z = model->encode(batch.image, hidden, nullptr);  // [B, L', D']
  out["rec"] = model->predict_all(z);
  const Size2 grid = model->out_grid();
  out["z"] = z.transpose(1, 2).reshape({z.size(0), z.size(2), grid.h, grid.w});
  out["mask"] = hidden.to(torch::kLong);
  return out;
}

const Register<GoldenKind> registered{"simmim/pretrain", {pretrain}};

}  // namespace
}  // namespace lacuna
