#include "lacuna/nn/weights.h"

#include <algorithm>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna::nn {

namespace {

constexpr size_t kNamesShown = 4;

std::string first_of(const std::vector<std::string>& names) {
  std::vector<std::string> shown(names.begin(), names.begin() + std::min(names.size(), kNamesShown));
  return join(shown) + (names.size() > kNamesShown ? ", ..." : "");
}

struct Mismatch {
  std::vector<std::string> missing, unexpected, misshapen;

  size_t count() const { return missing.size() + unexpected.size() + misshapen.size(); }

  std::string describe() const {
    std::vector<std::string> parts;
    if (!misshapen.empty()) parts.push_back(str(misshapen.size(), " misshapen (", first_of(misshapen), ")"));
    if (!missing.empty()) parts.push_back(str(missing.size(), " missing (", first_of(missing), ")"));
    if (!unexpected.empty())
      parts.push_back(str(unexpected.size(), " unexpected (", first_of(unexpected), ")"));
    return join(parts);
  }

  std::string remedy() const {
    if (!misshapen.empty())
      return "give the config the weights were made with (encoder.* and decoder.* keys)";
    const bool decoder = std::all_of(missing.begin(), missing.end(), [](const auto& name) {
      return name.find("decoder") != std::string::npos || name.ends_with("mask_token");
    });
    if (!missing.empty() && decoder && unexpected.empty())
      return "the file holds an encoder only; allow a partial load (--partial) if a fresh decoder will do";
    return "check that the weights belong to this method and size";
  }
};

}  // namespace

NamedTensors named_tensors(const torch::nn::Module& module) {
  NamedTensors out;
  for (const auto& item : module.named_parameters()) out[item.key()] = item.value();
  for (const auto& item : module.named_buffers()) out[item.key()] = item.value();
  return out;
}

std::vector<std::string> load_weights(const NamedTensors& own, const NamedTensors& weights,
                                      const std::string& origin, bool partial) {
  const torch::NoGradGuard no_grad;
  Mismatch mismatch;
  for (const auto& [name, tensor] : weights) {
    const auto found = own.find(name);
    if (found == own.end())
      mismatch.unexpected.push_back(name);
    else if (found->second.sizes() != tensor.sizes())
      mismatch.misshapen.push_back(str(name, " ", tensor.sizes(), " for ", found->second.sizes()));
  }
  for (const auto& [name, tensor] : own)
    if (!weights.count(name)) mismatch.missing.push_back(name);
  if (mismatch.count() > 0 && !partial)
    fail(origin, "weights do not fit: " + mismatch.describe(), mismatch.remedy());
  for (const auto& [name, tensor] : own) {
    const auto given = weights.find(name);
    if (given != weights.end() && given->second.sizes() == tensor.sizes()) tensor.copy_(given->second);
  }
  std::vector<std::string> skipped = mismatch.missing;
  skipped.insert(skipped.end(), mismatch.misshapen.begin(), mismatch.misshapen.end());
  skipped.insert(skipped.end(), mismatch.unexpected.begin(), mismatch.unexpected.end());
  return skipped;
}

}  // namespace lacuna::nn
