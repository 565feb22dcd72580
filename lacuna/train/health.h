#pragma once
// Is the run going well? Numbers that mean something without knowing the loss, and a plain verdict.

#include <string>
#include <vector>

#include "lacuna/data/transform.h"
#include "lacuna/method/method.h"

namespace lacuna::train {

/// How much of what was hidden is explained, against two guesses that need no learning. 1 = perfect, 0 = as
/// good as the guess, below 0 = worse. Errors are summed over hidden pixels; with per-patch units each
/// patch's error is divided by its variance first, and both guesses know the patch mean, as the picture does.
struct Skill {
  /// Against the mean: the patch's own (per-patch units), else that of the visible pixels.
  double over_mean = 0;
  /// Against the visible neighbours, blurred into the hole (normalised Gaussian convolution).
  double over_blur = 0;
};
Skill reconstruction_skill(const Preview& preview);
/// The second guess itself, [B, C, H, W]: visible pixels stay, hidden ones are a Gaussian-weighted mean of
/// the visible (sigma two thirds of a patch on each axis), or the mean of all visible pixels where none is
/// near. image [B, C, H, W], hidden_pixels [B, 1, H, W] bool.
Tensor blurred_guess(const Tensor& image, const Tensor& hidden_pixels, Size2 patch);

/// Of features [N, D].
struct Spread {
  /// exp of the entropy of the normalised singular values of centred features (RankMe, Garrido et al., ICML
  /// 2023, there not centred); 0 for constant features.
  double effective_rank = 0;
  /// Mean over dimensions of the standard deviation, after scaling rows to length sqrt(D): 1 for directions
  /// spread evenly, 0 when all are the same.
  double deviation = 0;
};
Spread feature_spread(const Tensor& features);

/// Weighted k-NN as in DINO (Caron et al., 2021): neighbours by cosine similarity s vote for their class with
/// exp(s / temperature).
struct KnnVotes {
  Tensor votes;    ///< [M, classes], divided by the nearest neighbour's vote, which may overflow
  Tensor nearest;  ///< [M] similarity of the nearest neighbour
};
/// bank [N, D], bank_label [N], query [M, D]; k is reduced to N when
/// larger. classes 0: the largest label of the bank + 1. Rows labelled -1 do not vote.
KnnVotes knn_votes(const Tensor& bank, const Tensor& bank_label, const Tensor& query, int64_t k,
                   double temperature, int64_t classes);
/// The label with most votes for each query, [M].
Tensor knn_predict(const Tensor& bank, const Tensor& bank_label, const Tensor& query, int64_t k,
                   double temperature, int64_t classes);
/// Share of the rows of `scores` [M, C] (votes, logits) whose label is among their `k` highest; of equal
/// scores the smallest label comes first. Rows labelled -1 do not count.
double top_k_accuracy(const Tensor& scores, const Tensor& label, int64_t k);
/// Top-1 of knn_votes.
double knn_top1(const Tensor& bank, const Tensor& bank_label, const Tensor& query, const Tensor& query_label,
                int64_t k = 20, double temperature = 0.07, int64_t classes = 0);

/// One health check.
struct Health {
  int64_t step = 0;
  double loss = 0;  ///< mean since the last check; NaN where no step was taken
  Skill skill;
  bool has_skill = false;
  Spread spread;
  double knn = -1, knn_chance = 0;  ///< -1: no labels
  int64_t knn_queries = 0;          ///< records that knn is a share of
  double data_wait = 0;             ///< share of time spent waiting for data since the last check
};

enum class State { kStarting, kLearning, kStuck, kCollapsed };

/// A state and the words for it.
struct Verdict {
  State state = State::kStarting;
  int64_t since = 0;  ///< step of the first check with this state
  std::string text;   ///< one plain sentence
};

/// The verdict over all checks so far; the first is that of the untrained network. Nothing is said before two
/// checks more. Collapsed: in two checks in a row, effective rank (deviation) below a quarter of the
/// untrained network's and below 3 (0.05), unless reconstruction or k-NN show otherwise. Stuck: after four
/// checks no more than 2 % explained, no falling loss and no rising k-NN.
Verdict judge(const std::vector<Health>& history);

/// The check whose weights are the best so far, by its step; -1 while only the untrained network was checked.
/// k-NN decides where it differs by more than the standard error of a share of so few queries; else the
/// explained share, or the later check where there is none. A replay of `history`, so it needs no state.
int64_t best_step(const std::vector<Health>& history);

/// "explains 41 % of what is hidden (over blur: 12 %) | rank 23.4 | k-NN 38 % (chance 10 %) | data wait 2 % |
/// learning"
std::string health_line(const Health& health, const Verdict& verdict);

Json to_json(const Health& health);
Health health_from_json(const Json& json);

}  // namespace lacuna::train
