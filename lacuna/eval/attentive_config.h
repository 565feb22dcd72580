#pragma once

#include <string>
#include <vector>

#include "lacuna/core/config.h"

namespace lacuna::eval {

/// Keys `eval.attentive.*`: the frozen attentive probe (V-JEPA, V-JEPA 2, SALT's fast protocol).
struct AttentiveConfig {
  std::string layout = "vjepa2";  ///< vjepa2 | vjepa: nn::AttentivePooler
  int64_t depth = 4, num_heads = 16;
  double mlp_ratio = 4;
  int64_t epochs = 20, batch_size = 64;
  std::vector<double> lr{1e-3};  ///< one head for each pair of rate and decay, trained together
  std::vector<double> weight_decay{0.01};
  double warmup_epochs = 0, min_lr = 0;
  bool augment = true;  ///< fresh crops and clips in every epoch; false: tokens are computed once
  void fields(Fields& f);
};

}  // namespace lacuna::eval
