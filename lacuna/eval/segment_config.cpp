#include "lacuna/eval/segment_config.h"

namespace lacuna::eval {

void SegmentConfig::fields(Fields& f) {
  f("frozen", frozen, "train a head on frozen features; false: the encoder with it");
  f("own", own,
    "the head reads a point's numbers and its offsets from its pillar's mean and centre beside the pillar's "
    "feature; false: the feature alone, the probe of pillars");
  f("hidden", hidden, "width of the head's hidden layer; 0: a linear head").range(0, 65536);
  f("epochs", epochs, "passes over --data").range(1);
  f("batch_points", batch_points, "points of a batch on frozen features").range(1);
  f("batch_clouds", batch_clouds, "clouds of a batch when the encoder is trained").range(1);
  f("lr", lr, "highest rate of the head (AdamW, half a cosine down)").range(0);
  f("encoder_lr", encoder_lr, "highest rate of the encoder when it is trained").range(0);
  f("weight_decay", weight_decay, "of the head's and the encoder's matrices").range(0);
  f("clip_grad", clip_grad, "largest norm of all gradients when the encoder is trained; 0: any").range(0);
  f("weighted", weighted, "classes count in the loss by the inverse of how many points they have");
}

namespace {

struct SeedOfTraining {
  int64_t seed = 0;
  void fields(Fields& f) { f("seed", seed, "of the head's first weights and of the order").range(0); }
};

}  // namespace

SegmentConfig segment_config(const std::vector<std::string>& settings, int64_t& seed) {
  SegmentConfig config;
  SeedOfTraining training{seed};
  ConfigTable table;
  table.add("segment", config);
  table.add("train", training);
  for (const auto& setting : settings) table.set_assignment(setting, "--set");
  seed = training.seed;
  return config;
}

}  // namespace lacuna::eval
