#include "lacuna/target/kmeans.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "lacuna/core/error.h"

namespace lacuna::target {

namespace {

constexpr int64_t kBlock = 1 << 14;  // rows compared at once
constexpr double kSmoothing = 0.01;  // of the running inertia that tells when a pool is done
constexpr int64_t kInitBatches = 3;  // batches that first centres are chosen from

/// [N, K] squared distances, up to |x|^2, which no comparison needs.
at::Tensor partial_distances(const at::Tensor& x, const at::Tensor& centers) {
  return at::addmm(centers.square().sum(1).unsqueeze(0), x, centers.t(), 1, -2);
}

/// Nearest centres and the squared distances to them.
std::pair<at::Tensor, at::Tensor> nearest_with_distance(const at::Tensor& x, const at::Tensor& centers) {
  std::vector<at::Tensor> index, distance;
  for (const auto& block : x.split(kBlock)) {
    const auto [least, at] = partial_distances(block, centers).min(1);
    index.push_back(at);
    distance.push_back((least + block.square().sum(1)).clamp_min(0));
  }
  return {at::cat(index), at::cat(distance)};
}

at::Tensor rows_at(const at::Tensor& x, const std::vector<int64_t>& rows) {
  return x.index_select(0, at::tensor(rows, at::kLong));
}

/// The row whose share of the running sum `u` falls into.
int64_t draw_by_weight(const at::Tensor& cumulative, double u) {
  const auto wanted = at::scalar_tensor(u * cumulative[-1].item<double>(), at::kDouble);
  return std::min(at::searchsorted(cumulative, wanted).item<int64_t>(), cumulative.size(0) - 1);
}

}  // namespace

at::Tensor nearest(const at::Tensor& x, const at::Tensor& centers) {
  return nearest_with_distance(x, centers).first;
}

double inertia(const at::Tensor& x, const at::Tensor& centers) {
  return nearest_with_distance(x, centers).second.sum(at::kDouble).item<double>();
}

at::Tensor kmeans_plus_plus(const at::Tensor& x, int64_t clusters, Stream& random) {
  LACUNA_ASSERT(x.size(0) >= clusters && clusters > 0);
  const auto trials = 2 + static_cast<int64_t>(std::log(static_cast<double>(clusters)));
  std::vector<int64_t> chosen{random.below(x.size(0))};
  const auto squared_to = [&](int64_t row) { return (x - x[row]).square().sum(1); };
  auto distance = squared_to(chosen.front());
  while (std::ssize(chosen) < clusters) {
    const auto cumulative = distance.to(at::kDouble).cumsum(0);
    double best = std::numeric_limits<double>::infinity();
    int64_t pick = 0;
    at::Tensor after;
    for (int64_t i = 0; i < trials; ++i) {
      const int64_t row = draw_by_weight(cumulative, random.uniform());
      const auto candidate = at::minimum(distance, squared_to(row));
      const double left = candidate.sum(at::kDouble).item<double>();
      if (left < best) best = left, pick = row, after = candidate;
    }
    chosen.push_back(pick);
    distance = after;
  }
  return rows_at(x, chosen).clone();
}

at::Tensor lloyd_round(const at::Tensor& x, const at::Tensor& centers) {
  const auto label = nearest(x, centers);
  const auto counts = at::bincount(label, {}, centers.size(0)).unsqueeze(1).to(x.scalar_type());
  const auto sums = at::zeros_like(centers).index_add_(0, label, x);
  return at::where(counts > 0, sums / counts.clamp_min(1), centers);
}

void Codebooks::start(const at::Tensor& pool, const KMeansConfig& config, uint64_t seed) {
  if (pool.size(0) < config.clusters)
    fail("k-means", str(pool.size(0), " frames for ", config.clusters, " clusters"),
         "use more data (target.share) or fewer clusters (target.clusters)");
  Stream random(seed, "kmeans/start");
  const int64_t wanted = std::max(kInitBatches * config.batch_frames, 3 * config.clusters);
  auto sample = pool;
  if (pool.size(0) > wanted) {
    auto order = random.permutation(pool.size(0));
    order.resize(static_cast<size_t>(wanted));
    sample = rows_at(pool, order);
  }
  for (int64_t q = 0; q < config.codebooks; ++q) {
    double best = std::numeric_limits<double>::infinity();
    at::Tensor centers;
    const auto part = sample.slice(0, 0, std::max(config.batch_frames, 3 * config.clusters));
    for (int64_t i = 0; i < config.inits; ++i) {
      // A single round tells good beginnings from bad ones.
      const auto tried = lloyd_round(part, kmeans_plus_plus(part, config.clusters, random));
      const double left = inertia(sample, tried);
      if (left < best) best = left, centers = tried;
    }
    books_.push_back(centers);
    counts_.push_back(at::zeros({config.clusters}, at::kFloat));
    sample = sample - centers.index_select(0, nearest(sample, centers));
  }
}

double Codebooks::update(const at::Tensor& batch) {
  auto rest = batch;
  for (size_t q = 0; q < books_.size(); ++q) {
    const auto label = nearest(rest, books_[q]);
    const auto left = rest - books_[q].index_select(0, label);
    const auto counts = at::bincount(label, {}, books_[q].size(0)).to(at::kFloat);
    const auto sums = at::zeros_like(books_[q]).index_add_(0, label, rest);
    counts_[q] = counts_[q] + counts;  // state() shares its tensors
    // c += (mean - c) * n / N: the mean of all rows that the centre has ever had.
    const auto step = (sums - books_[q] * counts.unsqueeze(1)) / counts_[q].clamp_min(1).unsqueeze(1);
    books_[q] = books_[q] + step;
    rest = left;
  }
  return rest.square().sum(1).mean().item<double>();
}

void Codebooks::fit(const at::Tensor& pool, const KMeansConfig& config, uint64_t seed, int64_t number) {
  const auto x = pool.to(at::kFloat).contiguous();
  if (books_.empty()) start(x, config, seed);
  Stream random(seed, "kmeans/order", static_cast<uint64_t>(number));
  double smooth = -1, best = std::numeric_limits<double>::infinity();
  int64_t worse = 0;
  for (int64_t epoch = 0; epoch < config.max_epochs && worse < config.patience; ++epoch) {
    const auto order = at::tensor(random.permutation(x.size(0)), at::kLong);
    for (const auto& rows : order.split(config.batch_frames)) {
      const double now = update(x.index_select(0, rows));
      const double share = std::max(kSmoothing, std::min(1.0, 2.0 * static_cast<double>(rows.size(0)) /
                                                                  static_cast<double>(x.size(0) + 1)));
      smooth = smooth < 0 ? now : smooth + share * (now - smooth);
      worse = smooth < best ? 0 : worse + 1;
      best = std::min(best, smooth);
      if (worse >= config.patience) break;
    }
  }
}

at::Tensor Codebooks::encode(const at::Tensor& x) const {
  std::vector<at::Tensor> codes;
  auto rest = x.to(at::kFloat);
  for (const auto& book : books_) {
    codes.push_back(nearest(rest, book));
    rest = rest - book.index_select(0, codes.back());
  }
  return at::stack(codes, 1);
}

at::Tensor Codebooks::residual(const at::Tensor& x) const {
  auto rest = x.to(at::kFloat);
  for (const auto& book : books_) rest = rest - book.index_select(0, nearest(rest, book));
  return rest;
}

std::map<std::string, at::Tensor> Codebooks::state() const {
  std::map<std::string, at::Tensor> out;
  for (size_t q = 0; q < books_.size(); ++q) {
    out[str("book.", q)] = books_[q];
    if (q < counts_.size()) out[str("count.", q)] = counts_[q];
  }
  return out;
}

Codebooks Codebooks::from_state(const std::map<std::string, at::Tensor>& state) {
  Codebooks out;
  for (size_t q = 0; state.count(str("book.", q)) != 0; ++q) {
    out.books_.push_back(state.at(str("book.", q)));
    const auto count = state.find(str("count.", q));
    out.counts_.push_back(count != state.end() ? count->second
                                               : at::zeros({out.books_.back().size(0)}, at::kFloat));
  }
  return out;
}

}  // namespace lacuna::target
