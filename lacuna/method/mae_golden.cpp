// Golden cases of MAE pre-training: the official MaskedAutoencoderViT's outputs by their names there.

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/method/golden.h"
#include "lacuna/method/mae.h"
#include "lacuna/target/patches.h"

namespace lacuna {
namespace {

// Card key -> our key.
const std::vector<std::pair<std::string, std::string>> kRenames = {{"loss.norm_pix_loss", "loss.norm_pix"}};

std::shared_ptr<MAE> build(const GoldenCase& golden) {
  MAEConfig config;
  auto table = table_of(config, rename_keys(golden.config, kRenames));
  config.resolve(table);
  SeededDraws unused(0);
  auto model = std::make_shared<MAE>(config, unused);
  load_weights(*model, golden.weights, "weights.safetensors");
  return model;
}

io::Tensors pretrain(const GoldenCase& golden) {
  const auto model = build(golden);
  const auto& encoder = model->config().encoder;
  Batch batch;
  batch.image = golden.input("imgs");
  RecordedDraws draws(golden.inputs);

  io::Tensors out;
  const auto loss = model->forward(batch, draws);
  loss.total.backward();
  out["loss"] = loss.total.detach();
  add_gradients(*model, out);

  const torch::NoGradGuard no_grad;
  const auto shuffle = model->draw_mask(batch.image, draws);
  out["latent"] = model->encode(batch.image, shuffle, nullptr);
  out["pred"] = model->predict_all(out["latent"], shuffle);
  out["target"] = model->target(batch.image);
  out["mask"] = shuffle.is_hidden().to(torch::kFloat);
  out["ids_restore"] = shuffle.restore();
  out["recon"] = target::unpatchify(out["pred"], encoder.patch_size, encoder.grid(), encoder.in_chans);
  const auto hidden = target::patch_mask_to_pixels(out["mask"], encoder.patch_size, encoder.grid());
  out["paste"] = batch.image * (1 - hidden) + out["recon"] * hidden;
  return out;
}

const Register<GoldenKind> registered{"mae/pretrain", {pretrain}};

}  // namespace
}  // namespace lacuna
