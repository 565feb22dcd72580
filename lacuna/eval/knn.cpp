#include "lacuna/eval/knn.h"

#include <set>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/train/health.h"

namespace lacuna::eval {

Result knn(const Features& bank, const Features& test, const EvalConfig& config) {
  Result result;
  const int64_t classes = std::max(bank.labels.max().item<int64_t>(), test.labels.max().item<int64_t>()) + 1;
  const int64_t reported = std::min(kReportedK, bank.size());
  std::set<int64_t> wanted(config.k.begin(), config.k.end());
  wanted.insert(reported);
  std::vector<int64_t> measured;
  for (const int64_t k : wanted) {
    if (k > bank.size()) break;
    const auto votes =
        train::knn_votes(bank.features, bank.labels, test.features, k, config.temperature, classes).votes;
    for (const int64_t best : {1, 5}) {
      if (best > 1 && best >= classes) break;
      const double share = train::top_k_accuracy(votes, test.labels, best);
      result.metrics[str("top", best, "_k", k)] = share;
      if (k == reported) result.metrics[str("top", best)] = share;
    }
    measured.push_back(k);
  }
  result.metrics["chance"] = majority_share(test.labels);
  result.settings = {
      {"k", measured},
      {"k_of_top1", reported},
      {"temperature", config.temperature},
      {"bank_size", bank.size()},
      {"test_size", test.size()},
      {"note", "weighted k-NN on cosine similarity; k of top1 fixed beforehand, not picked on the test set"}};
  return result;
}

namespace {

Result run(const Request& request) {
  const auto bank = labelled_features(request.model, request.train, request.config, "--data");
  const auto test = labelled_features(request.model, request.test, request.config, "--test");
  return knn(bank, test, request.config);
}

const Register<Protocol> registered{
    "knn",
    {.summary = "weighted k nearest neighbours on frozen features (DINO's); nothing is trained",
     .run = run,
     .several_processes = true}};

}  // namespace
}  // namespace lacuna::eval
