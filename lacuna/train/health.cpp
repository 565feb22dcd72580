#include "lacuna/train/health.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna::train {

namespace {

/// Blocks of this many similarities at a time bound the memory of k-NN.
constexpr int64_t kSimilarities = int64_t{1} << 24;
/// Added to a patch's variance, as in MAE's loss.
constexpr double kVarianceFloor = 1e-6;

/// [n, n]: row i holds exp(-(i-j)^2 / (2 sigma^2)). Blurring an axis is a product with it.
Tensor gaussian_matrix(int64_t n, double sigma, const Tensor& like) {
  const Tensor i = at::arange(n, like.options());
  return (i.unsqueeze(1) - i.unsqueeze(0)).div(sigma).square().mul(-0.5).exp();
}

/// [B, C, 1, 1]: each picture's mean over its visible pixels; 0 where all is hidden.
Tensor visible_mean(const Tensor& image, const Tensor& visible) {
  return (image * visible).sum({2, 3}, true) / visible.sum({2, 3}, true).clamp_min(1);
}

/// [B, 1, h, w] -> [B, 1, H, W].
Tensor to_pixels(const Tensor& patches, Size2 patch) {
  return patches.repeat_interleave(patch.h, 2).repeat_interleave(patch.w, 3);
}

/// Mean of each patch over its pixels and channels, [B, 1, h, w].
Tensor patch_mean(const Tensor& image, Size2 patch) {
  return at::avg_pool2d(image, {patch.h, patch.w}).mean(1, true);
}

double share_explained(double error, double guess_error) {
  return guess_error > 0 ? 1 - error / guess_error : 0;
}

// --- the verdict

/// Checks after the untrained network's before anything is said at all.
constexpr size_t kFirstJudged = 2;
/// Checks after the untrained network's before a run without a sign of learning counts as stuck. With the
/// default of twenty checks this lies behind the warm-up of most recipes.
constexpr size_t kPatience = 4;

/// A run is learning when it explains more than the mean does, when the loss falls, or when neighbours get
/// better.
bool shows_learning(const std::vector<Health>& history, size_t i) {
  constexpr double kSkill = 0.02, kLossFall = 0.01, kKnnRise = 0.05;
  const Health &start = history.front(), &now = history[i];
  if (now.has_skill && now.skill.over_mean >= kSkill) return true;
  if (start.knn >= 0 && now.knn >= start.knn + kKnnRise) return true;
  // Where the skill is known the loss must still be falling: the first steps always bring it down to its
  // chance value.
  size_t from = now.has_skill && i > kPatience ? i - kPatience : 0;
  while (from < i && !std::isfinite(history[from].loss)) ++from;
  const double before = history[from].loss;
  return before - now.loss > kLossFall * std::abs(before);
}

/// Both far below the untrained network and small in themselves, since features of an untrained network, and
/// of a reconstructing one early on, already have few strong directions.
bool looks_collapsed(const Health& start, const Health& now) {
  constexpr double kLeft = 0.25, kSmallRank = 3, kSmallDeviation = 0.05, kKnnRise = 0.02, kSkill = 0.1;
  // A decoder can't explain pictures, nor neighbours name them, out of features that are all alike.
  if (now.has_skill && now.skill.over_mean > kSkill) return false;
  if (start.knn >= 0 && now.knn > start.knn + kKnnRise) return false;
  const auto lost = [&](double from, double to, double small) { return to < kLeft * from && to < small; };
  return lost(start.spread.effective_rank, now.spread.effective_rank, kSmallRank) ||
         lost(start.spread.deviation, now.spread.deviation, kSmallDeviation);
}

State state_at(const std::vector<Health>& history, size_t i) {
  if (i < kFirstJudged) return State::kStarting;
  const Health& start = history.front();
  if (looks_collapsed(start, history[i - 1]) && looks_collapsed(start, history[i])) return State::kCollapsed;
  if (shows_learning(history, i)) return State::kLearning;
  return i < kPatience ? State::kStarting : State::kStuck;
}

std::string format(const char* pattern, double value) {
  char text[64];
  std::snprintf(text, sizeof text, pattern, value);
  return text;
}

std::string percent(double share) { return str(std::lround(100 * share), " %"); }

/// "k-NN rose from 21 % to 38 %"
std::string change(const std::string& what, const std::string& from, const std::string& to,
                   double difference) {
  if (from == to) return what + " stays at " + to;
  return what + (difference > 0 ? " rose from " : " fell from ") + from + " to " + to;
}

std::string evidence(const std::vector<Health>& history) {
  const Health &start = history.front(), &now = history.back();
  std::vector<std::string> parts;
  if (now.has_skill) parts.push_back("explains " + percent(now.skill.over_mean) + " of what is hidden");
  const auto first = std::find_if(history.begin(), history.end(),
                                  [](const Health& health) { return std::isfinite(health.loss); });
  if (first != history.end())
    parts.push_back(
        change("loss", format("%.3g", first->loss), format("%.3g", now.loss), now.loss - first->loss));
  if (start.knn >= 0 && now.knn >= 0)
    parts.push_back(change("k-NN", percent(start.knn), percent(now.knn), now.knn - start.knn));
  return join(parts);
}

std::string headline(const Verdict& verdict) {
  switch (verdict.state) {
    case State::kStarting:
      return "starting";
    case State::kLearning:
      return "learning";
    case State::kStuck:
      return str("stuck at its chance value since step ", verdict.since);
    case State::kCollapsed:
      return str("collapsed since step ", verdict.since);
  }
  LACUNA_ASSERT(false && "a state without a name");
}

std::string reason(const std::vector<Health>& history, const Verdict& verdict) {
  const Health &start = history.front(), &now = history.back();
  switch (verdict.state) {
    case State::kStarting:
      return "too early to tell";
    case State::kLearning:
      return evidence(history);
    case State::kStuck:
      return str(now.has_skill ? "the prediction is no better than the mean" : "the loss does not fall", " (",
                 evidence(history), "); try another train.base_lr or a shorter train.warmup_epochs");
    case State::kCollapsed:
      return str("features of different pictures have become nearly the same (effective rank ",
                 format("%.1f", start.spread.effective_rank), " -> ",
                 format("%.1f", now.spread.effective_rank), ", deviation ",
                 format("%.2f", start.spread.deviation), " -> ", format("%.2f", now.spread.deviation),
                 "); try a smaller train.base_lr or a longer train.warmup_epochs");
  }
  LACUNA_ASSERT(false && "a state without a reason");
}

}  // namespace

Tensor blurred_guess(const Tensor& image, const Tensor& hidden_pixels, Size2 patch) {
  constexpr double kSigmaInPatches = 2.0 / 3;
  // About 3.7 sigma, two and a half patches: further away a pixel says no more than the mean does.
  constexpr double kLeastWeight = 1e-3;
  const Tensor visible = hidden_pixels.logical_not().to(image.scalar_type());
  const Tensor down = gaussian_matrix(image.size(2), kSigmaInPatches * patch.h, image);
  const Tensor across = gaussian_matrix(image.size(3), kSigmaInPatches * patch.w, image);
  const auto blur = [&](const Tensor& x) { return at::matmul(at::matmul(down, x), across); };
  const Tensor weight = blur(visible);
  const Tensor blurred = blur(image * visible) / weight.clamp_min(kLeastWeight);
  const Tensor guess = at::where(weight > kLeastWeight, blurred, visible_mean(image, visible));
  return at::where(hidden_pixels, guess, image);
}

Skill reconstruction_skill(const Preview& preview) {
  const torch::NoGradGuard no_grad;
  const Tensor image = preview.image.to(at::kFloat);
  const Size2 patch{image.size(2) / preview.hidden.size(1), image.size(3) / preview.hidden.size(2)};
  const Tensor hidden = to_pixels(preview.hidden.to(at::kBool).unsqueeze(1), patch);
  Tensor mean_guess, blur_guess = blurred_guess(image, hidden, patch);
  Tensor weight = hidden.to(at::kFloat);
  if (preview.per_patch_units) {
    const Tensor mean = patch_mean(image, patch);
    mean_guess = to_pixels(mean, patch);
    const double count = static_cast<double>(image.size(1) * patch.area());
    const Tensor variance =
        patch_mean((image - mean_guess).square(), patch) * (count / std::max(count - 1, 1.0));
    weight = weight / to_pixels(variance + kVarianceFloor, patch);
    blur_guess = blur_guess + to_pixels(mean - patch_mean(blur_guess, patch), patch);
  } else {
    mean_guess = visible_mean(image, hidden.logical_not().to(at::kFloat));
  }
  const auto error = [&](const Tensor& guess) {
    return ((image - guess).square() * weight).sum(at::kDouble).item<double>();
  };
  const double predicted = error(preview.predicted.to(at::kFloat));
  return {share_explained(predicted, error(mean_guess)), share_explained(predicted, error(blur_guess))};
}

Spread feature_spread(const Tensor& features) {
  // Shares of the total below float32's resolution are rounding, not spread.
  constexpr double kRounding = 1e-12;
  const torch::NoGradGuard no_grad;
  const Tensor x = features.detach().to(at::kCPU, at::kDouble);
  if (x.size(0) < 2) return {};
  Spread spread;
  const Tensor centred = x - x.mean(0, true);
  if (centred.square().sum().item<double>() > kRounding * x.square().sum().item<double>()) {
    // Singular values through the smaller of the two Gram matrices.
    const Tensor gram = x.size(0) < x.size(1) ? centred.mm(centred.t()) : centred.t().mm(centred);
    const Tensor singular = at::linalg_eigvalsh(gram).clamp_min(0).sqrt();
    const Tensor share = singular / singular.sum();
    spread.effective_rank = std::exp(-at::xlogy(share, share).sum().item<double>());
  }
  const Tensor length = at::linalg_vector_norm(x, 2, at::OptionalIntArrayRef({1}), true).clamp_min(1e-12);
  const Tensor scaled = x / length * std::sqrt(static_cast<double>(x.size(1)));
  spread.deviation = scaled.var(0, /*unbiased=*/false).sqrt().mean().item<double>();
  return spread;
}

KnnVotes knn_votes(const Tensor& bank, const Tensor& bank_label, const Tensor& query, int64_t k,
                   double temperature, int64_t classes) {
  const torch::NoGradGuard no_grad;
  const Tensor labelled = (bank_label >= 0).nonzero().squeeze(1);
  LACUNA_ASSERT(labelled.numel() > 0 && k > 0 && temperature > 0);
  const Tensor label = bank_label.index_select(0, labelled);
  if (classes == 0) classes = label.max().item<int64_t>() + 1;
  const auto unit = [](const Tensor& x) {
    return x / at::linalg_vector_norm(x, 2, at::OptionalIntArrayRef({1}), true).clamp_min(1e-12);
  };
  const Tensor keys = unit(bank.index_select(0, labelled).to(at::kFloat)).t();
  const Tensor queries = unit(query.to(at::kFloat));
  const int64_t chunk = std::max<int64_t>(kSimilarities / labelled.numel(), 1);
  std::vector<Tensor> votes{at::zeros({0, classes})}, nearest{at::zeros({0})};
  for (const Tensor& part : queries.split(chunk)) {
    const auto [similarity, index] = at::mm(part, keys).topk(std::min(k, labelled.numel()), 1);
    nearest.push_back(similarity.select(1, 0));
    const Tensor weight = (similarity - nearest.back().unsqueeze(1)).div(temperature).exp();
    const Tensor none = at::zeros({part.size(0), classes}, weight.options());
    votes.push_back(none.scatter_add(1, label.index({index}), weight));
  }
  return {at::cat(votes), at::cat(nearest)};
}

Tensor knn_predict(const Tensor& bank, const Tensor& bank_label, const Tensor& query, int64_t k,
                   double temperature, int64_t classes) {
  return knn_votes(bank, bank_label, query, k, temperature, classes).votes.argmax(1);
}

double top_k_accuracy(const Tensor& scores, const Tensor& label, int64_t k) {
  const Tensor labelled = (label >= 0).nonzero().squeeze(1);
  LACUNA_ASSERT(labelled.numel() > 0);
  const Tensor order = scores.index_select(0, labelled).argsort(/*stable=*/true, 1, /*descending=*/true);
  const Tensor right = order.slice(1, 0, k) == label.index_select(0, labelled).unsqueeze(1);
  return right.any(1).to(at::kDouble).mean().item<double>();
}

double knn_top1(const Tensor& bank, const Tensor& bank_label, const Tensor& query, const Tensor& query_label,
                int64_t k, double temperature, int64_t classes) {
  return top_k_accuracy(knn_votes(bank, bank_label, query, k, temperature, classes).votes, query_label, 1);
}

Verdict judge(const std::vector<Health>& history) {
  Verdict verdict;
  if (history.empty()) return verdict;
  size_t first = history.size() - 1;
  verdict.state = state_at(history, first);
  while (first > 0 && state_at(history, first - 1) == verdict.state) --first;
  verdict.since = history[first].step;
  verdict.text = headline(verdict) + ": " + reason(history, verdict);
  return verdict;
}

int64_t best_step(const std::vector<Health>& history) {
  const Health* best = nullptr;
  double top = 0;  // the highest k-NN so far: small losses in a row must not add up
  for (const auto& now : history) {
    if (now.step <= 0) continue;
    const double queries = static_cast<double>(std::max<int64_t>(now.knn_queries, 1));
    const double noise = now.knn < 0 ? 0 : std::sqrt(top * (1 - top) / queries);
    const bool clearly_better = best && now.knn > best->knn + noise;
    const bool as_good = now.knn >= top - noise || now.knn < 0;
    const bool explains_more = best && (!now.has_skill || now.skill.over_mean > best->skill.over_mean);
    if (!best || clearly_better || (as_good && explains_more)) best = &now;
    top = std::max(top, now.knn);
  }
  return best ? best->step : -1;
}

std::string health_line(const Health& health, const Verdict& verdict) {
  std::vector<std::string> parts;
  if (health.has_skill)
    parts.push_back(str("explains ", percent(health.skill.over_mean),
                        " of what is hidden (over blur: ", percent(health.skill.over_blur), ")"));
  parts.push_back("rank " + format("%.1f", health.spread.effective_rank));
  if (health.knn >= 0)
    parts.push_back(str("k-NN ", percent(health.knn), " (chance ", percent(health.knn_chance), ")"));
  parts.push_back("data wait " + percent(health.data_wait));
  parts.push_back(headline(verdict));
  return join(parts, " | ");
}

Json to_json(const Health& health) {
  Json out = {{"step", health.step},
              {"loss", health.loss},
              {"effective_rank", health.spread.effective_rank},
              {"deviation", health.spread.deviation},
              {"data_wait", health.data_wait}};
  if (health.has_skill) {
    out["skill_over_mean"] = health.skill.over_mean;
    out["skill_over_blur"] = health.skill.over_blur;
  }
  if (health.knn >= 0) {
    out["knn"] = health.knn;
    out["knn_chance"] = health.knn_chance;
    out["knn_queries"] = health.knn_queries;
  }
  return out;
}

Health health_from_json(const Json& json) {
  // JSON has no NaN; it is written as null.
  const auto number = [&](const char* key, double absent) {
    const auto found = json.find(key);
    if (found == json.end()) return absent;
    return found->is_number() ? found->get<double>() : std::numeric_limits<double>::quiet_NaN();
  };
  Health health;
  health.step = json.at("step").get<int64_t>();
  health.loss = number("loss", std::numeric_limits<double>::quiet_NaN());
  health.spread = {number("effective_rank", 0), number("deviation", 0)};
  health.data_wait = number("data_wait", 0);
  health.has_skill = json.contains("skill_over_mean");
  health.skill = {number("skill_over_mean", 0), number("skill_over_blur", 0)};
  health.knn = number("knn", -1);
  health.knn_chance = number("knn_chance", 0);
  health.knn_queries = json.value("knn_queries", int64_t{0});
  return health;
}

}  // namespace lacuna::train
