// Golden cases of R-AMT: one step of mask tuning in full, and several.

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/method/golden.h"
#include "lacuna/method/r_amt.h"
#include "lacuna/train/optim.h"

namespace lacuna::eval {
namespace {

// Card key -> our key; heads follow from head_dim.
const std::vector<std::pair<std::string, std::string>> kRenames = {
    {"encoder.embed_dim", "projection.dim"},
    {"encoder.image_resolution", "encoder.img_size"},
    {"encoder.vision_layers", "encoder.depth"},
    {"encoder.vision_width", "encoder.embed_dim"},
    {"encoder.vision_patch_size", "encoder.patch_size"},
    {"encoder.head_dim", ""},
    {"mask.init", "mask.init"},
    {"mask.mask_mlp", ""},
    {"loss.mask_loss", ""},
    {"loss.loss_weight", "loss.mask_weight"},
    {"loss.gdr_t", "loss.gdr_temperature"},
    {"train.optimizer", ""},
    {"train.lr", ""},
    {"train.betas", ""},
    {"train.eps", ""},
    {"train.weight_decay", ""},
    {"train.momentum", ""},
    {"train.steps", ""}};

std::shared_ptr<RAmt> build(const GoldenCase& golden) {
  const auto& config = golden.config;
  Json document = rename_keys(config, kRenames);
  document["encoder"]["arch"] = "clip_vit";
  document["encoder"]["num_heads"] = config.at("encoder").at("vision_width").get<int64_t>() /
                                     config.at("encoder").value("head_dim", int64_t{64});
  if (document["mask"].value("init", "") == "1s") document["mask"]["init"] = "ones";
  if (config.value("/mask/mask_mlp"_json_pointer, false))
    document["mask"]["modules"] = {"conv1", "attn", "mlp"};
  if (!config.value("/loss/mask_loss"_json_pointer, true)) document["loss"]["mask_weight"] = 0.0;
  document["head"]["num_classes"] = golden.input("text_features").size(0);
  RAmtConfig own;
  own.resolve(table_of(own, document));
  SeededDraws draws(0);
  auto model = std::make_shared<RAmt>(own, draws);
  auto weights = golden.weights;
  weights["text_features"] = golden.input("text_features");
  load_weights(*model, weights, "weights.safetensors");
  return model;
}

/// torch.optim's Adam (weight decay joins the gradient), AdamW or SGD, over the scores.
class Stepper {
 public:
  Stepper(const RAmt& model, const Json& config) : config_(config) {
    const auto name = config.value("optimizer", "adam");
    const double decay = config.value("weight_decay", 0.0);
    const bool coupled = name == "adam";
    coupled_ = coupled ? decay : 0;
    train::ParamGroup group{.weight_decay = coupled ? 0 : decay};
    group.names = model.masks().names();
    group.params = model.masks().scores();
    const auto betas = config.value("betas", std::vector<double>{0.9, 0.999});
    optimizer_ = name == "sgd"
                     ? train::make_sgd({group}, config.value("momentum", 0.0))
                     : train::make_adamw({group}, betas.at(0), betas.at(1), config.value("eps", 1e-8));
  }
  void step(const std::vector<Tensor>& gradients) {
    const auto& scores = optimizer_->groups().front().params;
    for (size_t k = 0; k < scores.size(); ++k)
      scores[k].mutable_grad() = gradients[k] + coupled_ * scores[k].detach();
    optimizer_->step(config_.at("lr").get<double>());
  }

 private:
  const Json& config_;
  double coupled_ = 0;
  std::unique_ptr<train::Optimizer> optimizer_;
};

/// What one step computes; gradients by score.
struct Step {
  RAmtObjectives found;
  std::vector<Tensor> kl, task, kept;
};

Step take(const GoldenCase& golden, const RAmt& model, const std::string& prefix, Stepper& stepper) {
  Step out;
  out.found = model.objectives(golden.input(prefix + "images"), golden.input(prefix + "labels"),
                               model.text_features(), /*distil=*/true);
  const auto& scores = model.masks().scores();
  out.kl = torch::autograd::grad({out.found.kl}, scores, {}, /*retain_graph=*/true);
  out.task = torch::autograd::grad({out.found.task}, scores);
  for (size_t k = 0; k < scores.size(); ++k)
    out.kept.push_back(drop_gradient(out.task[k], out.kl[k],
                                     golden.input(str(prefix, "uniform.", model.masks().names()[k])),
                                     model.config().loss.gdr_lambda));
  stepper.step(out.kept);
  return out;
}

void add_after(const GoldenCase& golden, const RAmt& model, const std::string& last, io::Tensors& out) {
  const torch::NoGradGuard no_grad;
  const auto& masks = model.masks();
  for (size_t k = 0; k < masks.names().size(); ++k)
    out["after." + masks.names()[k]] = masks.scores()[k].detach();
  for (const auto& [name, bits] : masks.packed()) out["packed." + name] = bits;
  out["eval_logits_after"] = model.logits(golden.input(last + "images"), model.text_features());
}

Tensor mask_term(const RAmtObjectives& found) {
  return found.mask.defined() ? found.mask.detach() : torch::zeros({});
}

io::Tensors step(const GoldenCase& golden) {
  const auto model = build(golden);
  Stepper stepper(*model, golden.config.at("train"));
  const auto taken = take(golden, *model, "", stepper);
  const auto& found = taken.found;
  io::Tensors out = {{"logits", found.logits.detach()},
                     {"teacher_logits", found.teacher_logits},
                     {"image_features", found.features.detach()},
                     {"loss", found.task.detach()},
                     {"loss.main", found.main.detach()},
                     {"loss.mask", mask_term(found)},
                     {"loss.kl", found.kl.detach()},
                     {"sparsity", torch::tensor(100 * model->masks().sparsity(), torch::kFloat)}};
  for (size_t k = 0; k < taken.kept.size(); ++k) {
    const auto& name = model->masks().names()[k];
    out["task_grad." + name] = taken.task[k];
    out["kl_grad." + name] = taken.kl[k];
    out["grad." + name] = taken.kept[k];
  }
  add_after(golden, *model, "", out);
  return out;
}

io::Tensors trajectory(const GoldenCase& golden) {
  const auto model = build(golden);
  const auto& config = golden.config.at("train");
  Stepper stepper(*model, config);
  const auto steps = config.at("steps").get<int64_t>();
  std::map<std::string, std::vector<Tensor>> rows;
  for (int64_t i = 0; i < steps; ++i) {
    const auto found = take(golden, *model, str("step", i, "."), stepper).found;
    rows["loss"].push_back(found.task.detach());
    rows["loss.main"].push_back(found.main.detach());
    rows["loss.mask"].push_back(mask_term(found));
    rows["loss.kl"].push_back(found.kl.detach());
    rows["sparsity"].push_back(torch::tensor(100 * model->masks().sparsity(), torch::kFloat));
  }
  io::Tensors out;
  for (const auto& [name, values] : rows) out[name] = torch::stack(values);
  add_after(golden, *model, str("step", steps - 1, "."), out);
  return out;
}

const Register<GoldenKind> kStep{"r-amt/step", {step}};
const Register<GoldenKind> kTrajectory{"r-amt/trajectory", {trajectory}};

}  // namespace
}  // namespace lacuna::eval
