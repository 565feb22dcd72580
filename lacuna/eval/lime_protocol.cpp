// How good LIME's scores are, by the way segments were removed while they were made (Balasubramanian & Feizi,
// ICCV 2023, section 5): take the best segments away by grey, or keep only those, and see what the classifier
// still knows.

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/core/torch.h"
#include "lacuna/eval/lime_picture.h"

namespace lacuna::eval {

namespace {

constexpr int64_t kSteps = 8;  // of the insertion and deletion curves

/// Whether each picture's answer is right, and the label's probability, with the best or all but the best k
/// segments.
struct Tested {
  std::vector<Tensor> right, probability;
};

/// Sums over pictures, for one way to remove.
struct Scores {
  std::map<int64_t, Tested> deletion, insertion;  ///< by k
  std::vector<Tensor> fit, consistency;
};

class LimeTest {
 public:
  explicit LimeTest(const Request& request)
      : request_(request),
        config_(request.config.explain),
        model_(classifier_of(request.model, "eval lime")),
        grey_(model_, request.model.normalization, "grey") {
    for (const auto& name : config_.compare)
      removers_.emplace_back(model_, request.model.normalization, name);
  }

  Result run() {
    const torch::NoGradGuard no_grad;
    auto loader = make_loader(request_.model, request_.test, request_.config);
    log::Progress progress("lime");
    int64_t seen = 0;
    while (auto batch = loader.next_in_epoch()) {
      if (batch->size() == 0) continue;
      const auto device = request_.model.method->parameters().front().device();
      batch->image = batch->image.to(device), batch->label = batch->label.to(device);
      add(*batch);
      progress.update(seen += batch->size(), request_.test->size());
    }
    if (seen == 0) fail("--test", "no picture that can be read", "run `lacuna inspect` on it");
    return result();
  }

 private:
  void add(const Batch& batch) {
    const auto segments = segment(batch.image, config_).to(batch.image.device());
    const int64_t F = segments.max().item<int64_t>() + 1;
    SeededDraws draws(static_cast<uint64_t>(request_.config.seed), 0, batch.sample);
    const auto coins = lime_coins(batch.size(), F, config_, draws);
    const auto whole = model_.logits(batch.image).argmax(1);
    right_.push_back(whole.eq(batch.label).cpu());
    for (const auto& remover : removers_) {
      const auto found = lime_scores(remover, batch.image, segments, whole, coins, config_);
      auto& scores = scores_[remover.name()];
      scores.fit.push_back(found.fit), scores.consistency.push_back(found.consistency);
      const auto place = found.coef.argsort(/*stable=*/true, 1, /*descending=*/true)
                             .argsort(/*stable=*/true, 1, false)
                             .to(batch.image.device());
      for (const int64_t k : counts(F)) {
        test(batch, kept_pixels(segments, place.ge(k)), scores.deletion[k]);
        test(batch, kept_pixels(segments, place.lt(k)), scores.insertion[k]);
      }
    }
  }

  /// 0, F / 8, ..., F and top_k.
  std::set<int64_t> counts(int64_t F) const {
    std::set<int64_t> out{std::min(F, config_.top_k)};
    for (int64_t i = 0; i <= kSteps; ++i) out.insert(F * i / kSteps);
    return out;
  }

  void test(const Batch& batch, const Tensor& kept, Tested& into) const {
    const auto p = grey_.logits(batch.image, kept).to(torch::kFloat).softmax(1);
    into.right.push_back(p.argmax(1).eq(batch.label).cpu());
    into.probability.push_back(p.gather(1, batch.label.unsqueeze(1)).squeeze(1).cpu());
  }

  static double mean(const std::vector<Tensor>& parts) {
    return torch::cat(parts).to(torch::kDouble).mean().item<double>();
  }

  static Json series(const std::map<int64_t, Tested>& tested) {
    Json out = Json::array();
    for (const auto& [k, rows] : tested) out.push_back({k, mean(rows.right)});
    return out;
  }

  /// Area under the label's probability over the share of segments, by trapezoids.
  static double area(const std::map<int64_t, Tested>& tested) {
    double out = 0, before_x = 0, before_y = 0;
    const double last = static_cast<double>(tested.rbegin()->first);
    for (const auto& [k, rows] : tested) {
      const double x = static_cast<double>(k) / last, y = mean(rows.probability);
      if (k > 0) out += (x - before_x) * (y + before_y) / 2;
      before_x = x, before_y = y;
    }
    return out;
  }

  Result result() const {
    Result result;
    const double whole = mean(right_);
    result.metrics["top1"] = whole;
    Json deletion = Json::object(), insertion = Json::object();
    for (const auto& [name, scores] : scores_) {
      const int64_t k = std::min(config_.top_k, scores.deletion.rbegin()->first);
      const double left = mean(scores.deletion.at(k).right);
      result.metrics["accuracy_without_top." + name] = left;
      result.metrics["drop." + name] = whole - left;
      result.metrics["deletion." + name] = area(scores.deletion);
      result.metrics["insertion." + name] = area(scores.insertion);
      result.metrics["fit." + name] = mean(scores.fit);
      result.metrics["consistency." + name] = mean(scores.consistency);
      deletion[name] = series(scores.deletion), insertion[name] = series(scores.insertion);
    }
    const auto curve = [&](const std::string& title, const std::string& note, const Json& lines) {
      result.curves.push_back(
          {{"title", title}, {"note", note}, {"x", "segments"}, {"shares", true}, {"series", lines}});
    };
    curve("LIME: deletion", "Right answers when the best segments are painted grey: the lower the better.",
          deletion);
    curve("LIME: insertion", "Right answers when only the best segments are left: the higher the better.",
          insertion);
    result.settings = {{"samples", config_.samples},
                       {"segments", config_.segments},
                       {"segment_size", config_.segment_size},
                       {"top_k", config_.top_k},
                       {"test_size", torch::cat(right_).numel()}};
    return result;
  }

  const Request& request_;
  const ExplainConfig& config_;
  const Supervised& model_;
  Remover grey_;
  std::vector<Remover> removers_;
  std::vector<Tensor> right_;
  std::map<std::string, Scores> scores_;
};

const Register<Protocol> registered{
    "lime",
    {.summary =
         "LIME's scores put to the test: the best segments removed by grey, or kept alone (explain.* keys)",
     .run = [](const Request& request) { return LimeTest(request).run(); }}};

}  // namespace
}  // namespace lacuna::eval
