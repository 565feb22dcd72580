// Golden cases of HumanMAC: a training step, sampling with masked completion, metrics.

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/eval/motion_metrics.h"
#include "lacuna/method/golden.h"
#include "lacuna/method/humanmac.h"
#include "lacuna/nn/ema.h"
#include "lacuna/train/optim.h"

namespace lacuna::eval {
namespace {

// Card key -> our key.
const std::vector<std::pair<std::string, std::string>> kRenames = {
    {"data.t_his", "mask.t_his"},
    {"data.t_pred", "mask.t_pred"},
    {"data.n_pre", "target.n_pre"},
    {"data.joint_num", "encoder.joints"},
    {"data.padding", "mask.padding"},
    {"model.latent_dims", "encoder.embed_dim"},
    {"model.num_layers", "encoder.depth"},
    {"model.num_heads", "encoder.num_heads"},
    {"model.ff_size", "encoder.mlp_dim"},
    {"model.dropout", "encoder.dropout"},
    {"model.time_embed_dim", ""},  // always the width
    {"model.max_period", "encoder.max_period"},
    {"diffusion.Complete", "mask.complete"},
    {"sampling.mod_test", "mask.mod_test"},
    {"sampling.vis_col", ""},
    {"sampling.control_fix_index", ""},
    {"sampling.switch_relax_below_step", "mask.switch_relax_below_step"},
    {"optim.name", ""},
    {"optim.lr", ""},
    {"optim.betas", ""},
    {"optim.eps", ""},
    {"optim.weight_decay", ""},
    {"optim.ema_beta", ""}};

/// The official words for our choices.
std::string our_word(const std::string& official) {
  if (official == "LastFrame") return "last-frame";
  std::string out = official;
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

std::shared_ptr<MotionDiffuser> build(const GoldenCase& golden) {
  Json document = rename_keys(golden.config, kRenames);
  for (const char* key : {"/mask/padding", "/diffusion/scheduler"}) {
    const Json::json_pointer at(key);
    if (document.contains(at)) document[at] = our_word(document[at].get<std::string>());
  }
  HumanMACConfig config;
  config.resolve(table_of(config, document));
  auto model = std::make_shared<MotionDiffuser>(config);
  nn::load_weights(nn::named_tensors(*model), golden.weights, "weights.safetensors");
  return model;
}

void add_schedule(const MotionDiffuser& model, io::Tensors& out) {
  out["beta"] = model.schedule().beta;
  out["alpha_hat"] = model.schedule().alpha_hat;
}

/// One step of Adam on the gradients at hand, and an average that was a copy before it.
void take_step(const GoldenCase& golden, MotionDiffuser& model, io::Tensors& out) {
  const auto& optim = golden.config.at("optim");
  train::ParamGroup group{.weight_decay = optim.at("weight_decay").get<double>()};
  for (const auto& item : model.named_parameters()) {
    group.names.push_back(item.key());
    group.params.push_back(item.value());
  }
  nn::Ema ema(nn::named_tensors(model));
  const auto betas = optim.at("betas").get<std::vector<double>>();
  train::make_adamw({group}, betas.at(0), betas.at(1), optim.at("eps").get<double>())
      ->step(optim.at("lr").get<double>());
  ema.update(optim.at("ema_beta").get<double>());
  for (const auto& [name, tensor] : nn::named_tensors(model)) out["after_step." + name] = tensor.detach();
  for (const auto& [name, tensor] : ema.average()) out["ema." + name] = tensor;
}

io::Tensors train(const GoldenCase& golden) {
  const auto model = build(golden);
  auto trajectory = golden.input("traj");
  const auto &level = golden.input("t"), &noise = golden.input("eps");
  io::Tensors out;
  add_schedule(*model, out);
  out["dct"] = target::dct_matrix(model->config().frames());
  out["idct"] = out["dct"].t();
  out["idx_pad"] = model->padding_index();
  out["traj_pad"] = model->pad_history(trajectory);
  out["traj_dct"] = model->dct().forward(trajectory);
  out["traj_dct_mod"] = model->dct().forward(out["traj_pad"]);
  out["x_t"] = model->schedule().noised(out["traj_dct"], level, noise);

  const auto unconditional = model->network().forward(out["x_t"], level, {}, nullptr);
  out["pred_unconditional"] = unconditional.detach();
  out["loss.unconditional"] = torch::mse_loss(unconditional, noise).detach();
  const auto predicted =
      model->network().forward(out["x_t"], level, {.coefficients = out["traj_dct_mod"]}, nullptr);
  const auto loss = torch::mse_loss(predicted, noise);
  loss.backward();
  out["pred"] = predicted.detach();
  out["loss"] = loss.detach();
  add_gradients(*model, out);
  take_step(golden, *model, out);
  return out;
}

/// The inputs of one mode under the names that sampling asks for: noise is recorded in the order of use.
RecordedDraws draws_of(const GoldenCase& golden, const std::string& mode) {
  io::Tensors recorded = {{"x_T", golden.input(mode + ".x_T")}};
  for (const std::string name : {"eps", "eps_end"}) {
    const auto found = golden.inputs.find(str(mode, ".", name));
    if (found == golden.inputs.end()) continue;
    for (int64_t step = 0; step < found->second.size(0); ++step)
      recorded[str(name, ".", step)] = found->second[step];
  }
  return RecordedDraws(recorded);
}

void sample_mode(const GoldenCase& golden, const MotionDiffuser& model, const std::string& mode,
                 const MotionCompletion& completion, io::Tensors& out) {
  auto draws = draws_of(golden, mode);
  const bool told = model.config().mask.mod_test > 0;
  const std::string prefix = mode + ".";
  const auto final = model.sample(completion, told, draws, [&](const Tensor& x) {
    if (out.count(prefix + "x_first") == 0) out[prefix + "x_first"] = x;
  });
  out[prefix + "x_final"] = final;
  out[prefix + "motion"] = model.dct().backward(final);
  out[prefix + "mask"] = completion.mask;
  out[prefix + "traj_dct_mod"] = model.dct().forward(completion.history);
}

io::Tensors sample(const GoldenCase& golden) {
  const auto model = build(golden);
  const auto& sampling = golden.config.at("sampling");
  const auto& trajectory = golden.input("traj");
  io::Tensors out;
  add_schedule(*model, out);
  out["ddim_timestep_seq"] = torch::tensor(model->levels().at, torch::kLong);
  out["ddim_timestep_prev_seq"] = torch::tensor(model->levels().previous, torch::kLong);
  if (golden.inputs.count("metrics.x_T"))
    sample_mode(golden, *model, "metrics", model->prediction(trajectory), out);
  for (const std::string mode : {"pred", "gif", "zero_shot"})  // several futures of one motion
    if (golden.inputs.count(mode + ".x_T")) {
      const auto futures = golden.input(mode + ".x_T").size(0);
      sample_mode(golden, *model, mode,
                  model->prediction(trajectory.slice(0, 0, 1).expand({futures, -1, -1})), out);
    }
  if (golden.inputs.count("control.x_T")) {
    const auto group = sampling.at("control_fix_index").get<size_t>();
    const auto completion = model->control(trajectory.slice(0, 0, 1), motion_joint_groups().at(group),
                                           sampling.at("vis_col").get<int64_t>());
    sample_mode(golden, *model, "control", completion, out);
    out["control.traj_fix"] = completion.known;
  }
  if (golden.inputs.count("switch.x_T")) {
    const auto completion = model->transition(trajectory);
    sample_mode(golden, *model, "switch", completion, out);
    out["switch.mask_end"] = completion.end_mask;
    out["switch.traj_switch"] = completion.end;
  }
  return out;
}

io::Tensors metrics(const GoldenCase& golden) {
  const auto threshold = golden.config.at("eval").at("multimodal_threshold").get<double>();
  const auto found = motion_metrics(golden.input("all_data"), golden.input("pred"), threshold);
  io::Tensors out = {{"APD", found.apd},     {"ADE", found.ade},     {"FDE", found.fde},
                     {"MMADE", found.mmade}, {"MMFDE", found.mmfde}, {"num_mult", found.num_mult}};
  for (const char* name : {"APD", "ADE", "FDE", "MMADE", "MMFDE"})
    out[str(name, ".mean")] = out.at(name).mean();
  return out;
}

const Register<GoldenKind> kTrain{"humanmac/train", {train}};
const Register<GoldenKind> kSample{"humanmac/sample", {sample}};
const Register<GoldenKind> kMetrics{"humanmac/metrics", {metrics}};

}  // namespace
}  // namespace lacuna::eval
