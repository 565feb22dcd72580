// Golden cases of HPM pre-training: one whole step of the official code, outputs by their names there.

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/method/golden.h"
#include "lacuna/method/hpm.h"

namespace lacuna {
namespace {

// Card key -> our key. Where training stands is no setting, and the teacher's decay follows from it.
const std::vector<std::pair<std::string, std::string>> kRenames = {{"loss.norm_pix_loss", "loss.norm_pix"},
                                                                   {"loss.relative", ""},
                                                                   {"mask.epoch", ""},
                                                                   {"mask.total_epochs", ""},
                                                                   {"teacher.type", ""},
                                                                   {"teacher.decay", ""}};

/// Names under "ema." are the teacher's.
struct Weights {
  io::Tensors student, teacher;
};

Weights split(const io::Tensors& tensors) {
  const std::string prefix = "ema.";
  Weights out;
  for (const auto& [name, tensor] : tensors) {
    if (name.starts_with(prefix))
      out.teacher[name.substr(prefix.size())] = tensor;
    else
      out.student[name] = tensor;
  }
  return out;
}

Progress progress_of(const GoldenCase& golden) {
  const auto& mask = golden.config.at("mask");
  return {.step = 0,
          .steps = 1,
          .epoch = mask.at("epoch").get<double>(),
          .epochs = mask.at("total_epochs").get<double>()};
}

std::shared_ptr<HPM> build(const GoldenCase& golden) {
  HPMConfig config;
  auto table = table_of(config, rename_keys(golden.config, kRenames));
  const bool relative = golden.config.at("loss").value("relative", true);
  table.set("loss.learn", relative ? "relative" : "absolute", "case.toml");
  config.resolve(table);
  SeededDraws unused(0);
  auto model = std::make_shared<HPM>(config, unused);
  const auto weights = split(golden.weights);
  load_weights(*model, weights.student, "weights.safetensors");
  nn::load_weights(model->ema()->average(), weights.teacher, "weights.safetensors");
  return model;
}

io::Tensors pretrain(const GoldenCase& golden) {
  const auto model = build(golden);
  const auto& image = golden.input("imgs");
  Batch batch;
  batch.image = image;
  RecordedDraws draws(golden.inputs);
  const auto progress = progress_of(golden);
  model->before_step(progress);

  io::Tensors out;
  const auto loss = model->forward(batch, draws);
  loss.total.backward();
  out["loss"] = loss.total.detach();
  for (const auto& [name, part] : loss.parts) out["loss." + name] = part.detach();
  add_gradients(*model, out);

  const torch::NoGradGuard no_grad;
  const auto& student = model->student();
  const auto shuffle = model->draw_mask(image, draws);
  out["teacher_loss_pred"] = model->teacher_loss(image);
  out["mask"] = shuffle.is_hidden().to(torch::kFloat);
  out["latent"] = student.encode(image, shuffle, nullptr, &draws);
  const auto tokens = student.decoder_tokens(out["latent"], shuffle.order);
  out["pred"] = student.reconstruct(tokens, 0);
  out["loss_pred"] = student.predict_loss(tokens, 0);
  out["patch_loss"] = model->patch_loss(image, shuffle, out["pred"].slice(1, shuffle.kept_count));
  out["ema_decay"] = torch::tensor(model->decay(), torch::kFloat);
  model->after_step(progress);
  for (const auto& [name, tensor] : model->ema()->average()) out["ema_after." + name] = tensor;
  return out;
}

const Register<GoldenKind> registered{"hpm/pretrain", {pretrain}};

}  // namespace
}  // namespace lacuna
