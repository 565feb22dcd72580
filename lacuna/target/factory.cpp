#include "lacuna/target/factory.h"

#include "lacuna/core/error.h"

namespace lacuna::target {

void TargetConfig::fields(Fields& f) {
  f("num_classes", num_classes, "classes of each label set; empty: those of the labels").range(1);
  f("source", source,
    "what labels are made of: k-means of MFCC, of log-mel energies, of a model's layers; or a random "
    "projection of MFCC with random codes")
      .choices({"mfcc", "logmel", "layers", "random"});
  f("layers", layers, "source layers: the blocks (1 = the first), a label set for each").range(0);
  f("model", model,
    "source layers: whose (a run or weights); empty: of a first iteration, which is trained before");
  f("clusters", clusters, "clusters of a codebook").range(2);
  f("codebooks", codebooks, "above 1: residual vector quantisation, a label set for each codebook")
      .range(1, 64);
  f("share", share, "share of the records that clusters are fitted on").range(1e-6, 1);
  f("pool_frames", pool_frames, "frames held in memory at once while clusters are fitted").range(100);
  f("inits", inits, "beginnings tried (k-means++)").range(1);
  f("first_source", first_source, "labels of a first iteration").choices({"mfcc", "logmel", "random"});
  f("first_steps", first_steps, "optimiser steps of a first iteration").range(0);
  f("first_clusters", first_clusters, "clusters of a first iteration").range(2);
}

int64_t TargetConfig::sets() const {
  return (source == "layers" ? std::ssize(layers) : 1) * (source == "random" ? 1 : codebooks);
}

void TargetConfig::resolve(const ConfigTable& /*table*/) {
  if (source == "layers" && layers.empty())
    fail("target.layers", "is empty, and target.source is layers", "name the blocks, e.g. [6]");
  if (source == "random" && codebooks > 1)
    fail("target.codebooks", "random codes have one codebook", "set it to 1");
  if (num_classes.empty()) num_classes.assign(static_cast<size_t>(sets()), clusters);
}

KMeansConfig TargetConfig::kmeans() const {
  return {.clusters = clusters, .codebooks = codebooks, .inits = inits};
}

double TargetConfig::label_rate(int64_t sample_rate, int64_t stride) const {
  return source == "layers" ? static_cast<double>(sample_rate) / static_cast<double>(stride) : 100.0;
}

}  // namespace lacuna::target
