#pragma once
// Clusters of frames: k-means (Lloyd; Sculley's mini-batches, WWW 2010, as scikit-learn's MiniBatchKMeans
// runs them without reassignment), k-means++ (Arthur and Vassilvitskii, 2007), residual vector quantisation.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "lacuna/core/draws.h"

namespace lacuna::target {

/// The nearest of `centers` [K, D] for each row of x [N, D]: [N] int64, by |x|^2 - 2 x.c + |c|^2.
at::Tensor nearest(const at::Tensor& x, const at::Tensor& centers);
/// Sum of the squared distances to the nearest centre.
double inertia(const at::Tensor& x, const at::Tensor& centers);
/// [K, D] rows of x [N, D], N >= K: each next one the best of 2 + ln K candidates drawn by squared distance
/// (the greedy variant).
at::Tensor kmeans_plus_plus(const at::Tensor& x, int64_t clusters, Stream& random);
/// One round of Lloyd's: means of the rows nearest to each centre; a centre without rows stays.
at::Tensor lloyd_round(const at::Tensor& x, const at::Tensor& centers);

/// How clusters are fitted.
struct KMeansConfig {
  int64_t clusters = 100;
  int64_t codebooks = 1;  ///< above 1: residual quantiser, coarse to fine
  int64_t batch_frames = 10000;
  int64_t max_epochs = 100;  ///< over one pool
  int64_t inits = 20;
  int64_t patience = 100;  ///< batches without a lower inertia before a pool is done
};

/// One or several codebooks [K, D]: r_0 = x, c_q = nearest of r_q, r_{q+1} = r_q - C_q[c_q].
class Codebooks {
 public:
  Codebooks() = default;
  explicit Codebooks(std::vector<at::Tensor> books) : books_(std::move(books)) {}
  /// Learns from a pool of frames [N, D], in mini-batches whose order is drawn from (seed, pool): the first
  /// pool makes the first centres, later pools go on. Error when the first holds fewer frames than clusters.
  void fit(const at::Tensor& pool, const KMeansConfig& config, uint64_t seed, int64_t number);
  at::Tensor encode(const at::Tensor& x) const;    ///< [N, D] -> [N, Q] int64
  at::Tensor residual(const at::Tensor& x) const;  ///< what the codebooks leave, [N, D]
  const std::vector<at::Tensor>& books() const { return books_; }

  std::map<std::string, at::Tensor> state() const;  ///< "book.0", "count.0", ...
  static Codebooks from_state(const std::map<std::string, at::Tensor>& state);

 private:
  void start(const at::Tensor& pool, const KMeansConfig& config, uint64_t seed);
  double update(const at::Tensor& batch);

  std::vector<at::Tensor> books_, counts_;
};

}  // namespace lacuna::target
