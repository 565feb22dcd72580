#include "lacuna/eval/masks.h"

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/subset.h"
#include "lacuna/train/health.h"

namespace lacuna::eval {

namespace {

constexpr uint64_t kRandomMasks = 3;

/// Of a whole set, over all classes.
struct Scored {
  Tensor logits, labels;  // [N, C], [N]
};

/// The set is read anew for each mask: its pictures may not fit into memory.
Scored score(const Model& model, const std::shared_ptr<data::Dataset>& dataset, const EvalConfig& config,
             bool masked) {
  const torch::NoGradGuard no_grad;
  const auto& method = r_amt_of(model, "masks");
  const auto device = method.text_features().device();
  auto loader = make_loader(model, dataset, config);
  std::vector<Tensor> logits, labels;
  while (auto batch = loader.next_in_epoch()) {
    if (batch->size() == 0) continue;  // every record of it was broken
    logits.push_back(method.logits(batch->image.to(device), method.text_features(), masked).cpu());
    labels.push_back(batch->label);
  }
  if (logits.empty()) fail("--test", "no picture that can be read", "run `lacuna inspect` on it");
  return {torch::cat(logits), torch::cat(labels)};
}

/// Accuracies by part, under `prefix`.
std::map<std::string, double> accuracies(const Scored& scored) {
  const auto& [logits, labels] = scored;
  const int64_t classes = logits.size(1);
  std::map<std::string, double> out;
  for (const std::string part : {"all", "base", "new"}) {
    const auto [from, to] = data::class_range(part, classes);
    const auto rows = labels.ge(from).logical_and(labels.lt(to)).nonzero().flatten();
    if (rows.numel() == 0) continue;
    out[part] = train::top_k_accuracy(logits.index_select(0, rows).slice(1, from, to),
                                      labels.index_select(0, rows) - from, 1);
  }
  if (out.count("base") && out.count("new")) {
    const double sum = out["base"] + out["new"];
    out["harmonic"] = sum > 0 ? 2 * out["base"] * out["new"] / sum : 0;
  }
  return out;
}

void add(Json& metrics, const std::string& prefix, const std::map<std::string, double>& found,
         const std::string& own) {
  for (const auto& [part, value] : found) metrics[str(prefix, part, "_top1")] = value;
  if (const auto top = found.find(own); top != found.end()) metrics[prefix + "top1"] = top->second;
}

/// The mean over masks of as many bits at random places; the method's own are put back.
std::map<std::string, double> random_accuracies(const Model& model,
                                                const std::shared_ptr<data::Dataset>& dataset,
                                                const EvalConfig& config) {
  const torch::NoGradGuard no_grad;
  auto& method = r_amt_of(model, "masks");
  std::vector<Tensor> kept;
  for (const auto& score : method.masks().scores()) kept.push_back(score.clone());
  std::map<std::string, double> sum;
  for (uint64_t seed = 0; seed < kRandomMasks; ++seed) {
    method.shuffle_masks(seed);
    for (const auto& [part, value] : accuracies(score(model, dataset, config, true)))
      sum[part] += value / kRandomMasks;
  }
  for (size_t k = 0; k < kept.size(); ++k) method.masks().scores()[k].copy_(kept[k]);
  return sum;
}

Result run(const Request& request) {
  auto& method = r_amt_of(request.model, "masks");
  Result result;
  result.metrics = mask_metrics(request.model, request.test, request.config, /*compare=*/true);
  result.curves = mask_curves(method);
  result.settings = {{"tune", method.config().tune},
                     {"classes", method.config().head.classes},
                     {"test_size", request.test->size()}};
  return result;
}

const Register<Protocol> registered{
    "masks",
    {.summary = "R-AMT: accuracy with the masks, without them, and with random ones; base and new "
                "classes, what was masked where",
     .run = run}};

}  // namespace

RAmt& r_amt_of(const Model& model, const std::string& protocol) {
  auto* method = dynamic_cast<RAmt*>(model.method.get());
  if (!method)
    fail(str("eval ", protocol), str(model.origin, " are weights of ", model.config->method),
         "give a run of r-amt or its masks");
  return *method;
}

Json mask_metrics(const Model& model, const std::shared_ptr<data::Dataset>& test, const EvalConfig& config,
                  bool compare) {
  auto& method = r_amt_of(model, "masks");
  const auto own = method.config().head.classes;
  Json metrics;
  add(metrics, "", accuracies(score(model, test, config, true)), own);
  const auto [from, to] = data::class_range(own, method.config().head.num_classes);
  metrics["chance"] = 1.0 / static_cast<double>(to - from);
  if (method.config().tune != "masks") return metrics;
  constexpr double kPaperLimit = 0.1;  // of the card's claim
  metrics["sparsity"] = method.masks().sparsity();
  metrics["kept"] = 1 - method.masks().sparsity();
  metrics["kept_wanted"] = 1 - kPaperLimit;
  if (!compare) return metrics;
  add(metrics, "frozen_", accuracies(score(model, test, config, false)), own);
  add(metrics, "random_", random_accuracies(model, test, config), own);
  return metrics;
}

Json mask_curves(const RAmt& method) {
  const auto& masks = method.masks();
  std::map<std::string, Json> series;
  const std::string blocks = "transformer.resblocks.";
  for (size_t k = 0; k < masks.names().size(); ++k) {
    const auto& name = masks.weight_names()[k];
    const double share = masks.scores()[k].le(masks.threshold()).to(torch::kDouble).mean().item<double>();
    if (!name.starts_with(blocks)) {
      series["conv1"].push_back({-1, share});
      continue;
    }
    const auto dot = name.find('.', blocks.size());
    series[name.substr(dot + 1)].push_back({std::stoll(name.substr(blocks.size())), share});
  }
  if (series.empty()) return Json::array();
  Json chart = {{"title", "share of the weights that is masked"},
                {"note", "by block of the image tower; -1: the patch embedding"},
                {"x", "block"},
                {"shares", true},
                {"series", series}};
  Json out = Json::array();
  out.push_back(std::move(chart));
  return out;
}

}  // namespace lacuna::eval
