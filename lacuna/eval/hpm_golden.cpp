// Golden cases of HPM's parts, k-NN among them, by the official names.

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/method/golden.h"
#include "lacuna/method/hpm.h"
#include "lacuna/train/health.h"

namespace lacuna::eval {
namespace {

std::vector<int64_t> numbers(const Tensor& list) {
  const auto values = list.to(torch::kLong).contiguous();
  return {values.data_ptr<int64_t>(), values.data_ptr<int64_t>() + values.numel()};
}

/// One mask an epoch, from the predicted losses of 3 samples.
void masks(const GoldenCase& golden, io::Tensors& out) {
  const auto& keys = golden.config.at("mask");
  const mask::HardConfig config{.ratio = keys.at("ratio").get<double>(), .guide = keys.value("guide", true)};
  const auto epochs = keys.at("total_epochs").get<double>();
  const auto& loss = golden.input("loss_pred");  // [B, L]
  const int64_t B = loss.size(0), L = loss.size(1);
  for (const auto epoch : numbers(golden.input("epochs"))) {
    io::Tensors recorded;
    for (const std::string name : {"noise", "perm"})
      if (golden.inputs.count(str(name, ".", epoch))) recorded[name] = golden.input(str(name, ".", epoch));
    RecordedDraws draws(recorded);
    const int64_t hidden = L - mask::kept_patches(L, config.ratio);
    const int64_t hard = mask::hard_count(config, hidden, static_cast<double>(epoch), epochs);
    const auto shuffle = hard > 0 ? mask::hard_shuffle(config, loss, hard, draws)
                                  : mask::easy_shuffle(config, B, L, loss.device(), draws);
    out[str("mask.", epoch)] = shuffle.is_hidden().to(torch::kFloat);
    out[str("hard_count.", epoch)] = torch::tensor(hard);
  }
}

/// `pred` and its gradient of the loss called `name`.
void learning_loss(const GoldenCase& golden, const std::string& name,
                   Tensor (*loss_of)(const Tensor&, const Tensor&), io::Tensors& out) {
  const auto pred = golden.input("pred").clone().requires_grad_();
  const auto loss = loss_of(pred, golden.input("target"));
  loss.backward();
  out["loss." + name] = loss.detach();
  out["grad.pred." + name] = pred.grad();
}

void decays(const GoldenCase& golden, io::Tensors& out) {
  const HPMTeacherConfig teacher;
  std::vector<double> values;
  for (const auto epoch : numbers(golden.input("decay_epochs")))
    values.push_back(
        nn::ema_ramp(teacher.decay, teacher.final_decay, static_cast<double>(epoch), teacher.ramp_epochs));
  out["ema_decay"] = torch::tensor(values, torch::kFloat);
}

/// main_knn.py: votes by class, and how often the right class is among the first, in percent.
void knn(const GoldenCase& golden, io::Tensors& out) {
  const auto& keys = golden.config.at("knn");
  const auto temperature = keys.at("temperature").get<double>();
  const auto found = train::knn_votes(golden.input("knn.train_features"), golden.input("knn.train_labels"),
                                      golden.input("knn.test_features"), keys.at("k").get<int64_t>(),
                                      temperature, keys.at("num_classes").get<int64_t>());
  out["knn.scores"] = found.votes * (found.nearest / temperature).exp().unsqueeze(1);
  for (const int64_t k : {1, 5})
    out[str("knn.top", k)] = torch::tensor(
        100 * train::top_k_accuracy(found.votes, golden.input("knn.test_labels"), k), torch::kFloat);
}

io::Tensors pieces(const GoldenCase& golden) {
  io::Tensors out;
  masks(golden, out);
  learning_loss(golden, "relative", ranking_loss, out);
  learning_loss(golden, "absolute", regression_loss, out);
  decays(golden, out);
  if (golden.config.contains("knn")) knn(golden, out);
  return out;
}

const Register<GoldenKind> registered{"hpm/pieces", {pieces}};

}  // namespace
}  // namespace lacuna::eval
