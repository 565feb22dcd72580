#pragma once
// Keys `segment.*`: the head that tells the class of each point.

#include <cstdint>
#include <string>
#include <vector>

#include "lacuna/core/config.h"

namespace lacuna::eval {

/// Keys `segment.*`.
struct SegmentConfig {
  bool frozen = true;           ///< false: the encoder is trained too
  bool own = true;              ///< the head reads the point's own numbers beside its pillar's feature
  int64_t hidden = 0;           ///< 0: a linear head
  int64_t epochs = 10;          ///< passes over --data
  int64_t batch_points = 4096;  ///< frozen: points of a batch
  int64_t batch_clouds = 4;     ///< not frozen: clouds of a batch
  double lr = 1e-2;             ///< of the head, at its highest
  double encoder_lr = 1e-3;     ///< of the encoder, when it is trained
  double weight_decay = 0.01;
  double clip_grad = 10;  ///< of all gradients together, when the encoder is trained
  bool weighted = false;  ///< classes count by the inverse of how frequent they are
  void fields(Fields& f);
};

/// Of assignments "segment.key=value" and "train.seed=N", which replaces `seed`; Error naming any other key.
SegmentConfig segment_config(const std::vector<std::string>& settings, int64_t& seed);

}  // namespace lacuna::eval
