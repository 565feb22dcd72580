#include "lacuna/nn/weight_mask.h"

#include <algorithm>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/init.h"

namespace lacuna::nn {

namespace {

constexpr int64_t kBits = 8;

/// [8]: what each bit of a byte is worth, the highest first.
Tensor bit_values() { return torch::tensor({128, 64, 32, 16, 8, 4, 2, 1}, torch::kInt); }

/// A parameter at a dotted name, its modules made on the way.
Tensor register_deep(torch::nn::Module& root, const std::string& name, const Tensor& value) {
  const auto dot = name.find('.');
  if (dot == std::string::npos) return root.register_parameter(name, value);
  const auto head = name.substr(0, dot);
  for (const auto& child : root.named_children())
    if (child.key() == head) return register_deep(*child.value(), name.substr(dot + 1), value);
  return register_deep(*root.register_module(head, std::make_shared<torch::nn::Module>()),
                       name.substr(dot + 1), value);
}

}  // namespace

std::string score_name(const std::string& weight_name) {
  for (const std::string ending : {"in_proj_weight", "weight"})
    if (weight_name.ends_with("." + ending))
      return weight_name.substr(0, weight_name.size() - ending.size()) + "mask_real";
  LACUNA_ASSERT(false && "a weight without a score's name");
}

Tensor masked_weight(const Tensor& weight, const Tensor& score, double threshold) {
  const auto kept = score.detach().gt(threshold).to(weight.scalar_type());
  // The difference is 0 and its gradient 1.
  return weight * (kept + (score - score.detach()));
}

Tensor pack_bits(const Tensor& score, double threshold) {
  auto bits = score.detach().cpu().flatten().gt(threshold).to(torch::kInt);
  const int64_t rest = (kBits - bits.numel() % kBits) % kBits;
  bits = torch::cat({bits, torch::zeros({rest}, torch::kInt)}).view({-1, kBits});
  return bits.mul(bit_values()).sum(1).to(torch::kByte);
}

Tensor unpack_bits(const Tensor& packed, int64_t count) {
  const auto bytes = packed.cpu().to(torch::kInt).unsqueeze(1);
  return bytes.bitwise_and(bit_values()).ne(0).flatten().slice(0, 0, count).to(torch::kFloat);
}

WeightMasks::WeightMasks(const std::vector<std::string>& weight_names, const std::vector<Tensor>& weights,
                         double threshold)
    : weight_names_(weight_names), threshold_(threshold) {
  for (size_t k = 0; k < weights.size(); ++k) {
    names_.push_back(score_name(weight_names[k]));
    scores_.push_back(register_deep(*this, names_.back(), torch::zeros(weights[k].sizes())));
  }
}

void WeightMasks::initialize(const std::string& init, double scale, Draws& draws) {
  const torch::NoGradGuard no_grad;
  for (size_t k = 0; k < scores_.size(); ++k) {
    if (init == "uniform")
      scores_[k].copy_(draws.uniform(names_[k], scores_[k].sizes()).mul_(scale));
    else
      scores_[k].fill_(scale);
  }
}

WeightHook WeightMasks::hook() const {
  return [this](const std::string& name, const Tensor& weight) {
    const auto found = std::find(weight_names_.begin(), weight_names_.end(), name);
    if (found == weight_names_.end()) return weight;
    return masked_weight(weight, scores_[static_cast<size_t>(found - weight_names_.begin())], threshold_);
  };
}

double WeightMasks::sparsity() const {
  double below = 0, all = 0;
  for (const auto& score : scores_) {
    below += score.lt(threshold_).sum().item<double>();
    all += static_cast<double>(score.numel());
  }
  return all > 0 ? below / all : 0;
}

NamedTensors WeightMasks::packed() const {
  NamedTensors out;
  for (size_t k = 0; k < scores_.size(); ++k) out[names_[k]] = pack_bits(scores_[k], threshold_);
  return out;
}

}  // namespace lacuna::nn
