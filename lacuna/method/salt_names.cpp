#include "lacuna/method/salt_names.h"

#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna {

namespace {

using Tensors = WeightNames::Tensors;
using Table = std::vector<std::pair<std::string, std::string>>;

constexpr const char* kKernel = "encoder.patch_embed.proj.weight";  // [D, C, frames, ph, pw]
constexpr int64_t kReleasedFrames = 16;                             // of every released model's table
constexpr int64_t kHeadWidth = 64;

// Part of an official name -> the same part in transformers' VJEPA2Model. Whole names first.
const Table kHf = {{"encoder.patch_embed.", "encoder.embeddings.patch_embeddings."},
                   {"encoder.blocks.", "encoder.layer."},
                   {"encoder.norm.", "encoder.layernorm."},
                   {"predictor.predictor_embed.", "predictor.embeddings.predictor_embeddings."},
                   {"predictor.predictor_blocks.", "predictor.layer."},
                   {"predictor.predictor_norm.", "predictor.layernorm."},
                   {"predictor.predictor_proj.", "predictor.proj."},
                   {".attn.proj.", ".attention.proj."}};
constexpr const char* kHfMaskTokens = "predictor.embeddings.mask_tokens";  // [G, 1, 1, P]
constexpr const char* kMaskTokens = "predictor.mask_tokens.";
const char* const kQkv[] = {".attention.query.", ".attention.key.", ".attention.value."};

std::string replaced(std::string name, const std::string& from, const std::string& to) {
  const auto at = name.find(from);
  return at == std::string::npos ? name : name.replace(at, from.size(), to);
}

bool has_film_kernel(const Tensors& tensors, const std::string& name) {
  const auto found = tensors.find(name);
  return found != tensors.end() && found->second.dim() == 5;
}

/// Without what wrappers put in front: "encoder.module.backbone.blocks.0" -> "encoder.blocks.0".
Tensors unwrapped(const Tensors& tensors) {
  Tensors out;
  for (const auto& [name, tensor] : tensors)
    out[replaced(replaced(name, "module.", ""), "backbone.", "")] = tensor;
  return out;
}

/// Released checkpoints hold the student and its moving average; the papers evaluate the latter.
Tensors with_average_as_encoder(const Tensors& tensors) {
  const std::string average = "target_encoder.", student = "encoder.";
  Tensors out;
  for (const auto& [name, tensor] : tensors)
    if (!name.starts_with(student)) out[name.starts_with(average) ? name.substr(7) : name] = tensor;
  return out;
}

Tensors from_hf(const Tensors& tensors) {
  Tensors out;
  std::map<std::string, std::array<torch::Tensor, 3>> qkv;
  for (const auto& [hf, tensor] : tensors) {
    if (hf == kHfMaskTokens) {
      for (int64_t g = 0; g < tensor.size(0); ++g) out[str(kMaskTokens, g)] = tensor[g].clone();
      continue;
    }
    std::string name = hf;
    for (const auto& [ours, theirs] : kHf) name = replaced(name, theirs, ours);
    bool part = false;
    for (size_t i = 0; i < 3; ++i) {
      if (name.find(kQkv[i]) == std::string::npos) continue;
      qkv[replaced(name, kQkv[i], ".attn.qkv.")][i] = tensor;
      part = true;
    }
    if (!part) out[name] = tensor;
  }
  for (const auto& [name, parts] : qkv)
    if (parts[0].defined() && parts[1].defined() && parts[2].defined())
      out[name] = torch::cat({parts[0], parts[1], parts[2]});
  return out;
}

bool to_official(Tensors& tensors) {
  if (has_film_kernel(tensors, "encoder.embeddings.patch_embeddings.proj.weight")) {
    tensors = from_hf(tensors);
    return true;
  }
  auto plain = unwrapped(tensors);
  if (has_film_kernel(plain, "target_encoder.patch_embed.proj.weight"))
    plain = with_average_as_encoder(plain);
  if (has_film_kernel(plain, "patch_embed.proj.weight")) {
    Tensors inside;
    for (const auto& [name, tensor] : plain)
      inside[name.starts_with("predictor.") ? name : "encoder." + name] = tensor;
    plain = std::move(inside);
  }
  if (!has_film_kernel(plain, kKernel)) return false;
  tensors = std::move(plain);
  return true;
}

Tensors from_official(const Tensors& tensors, const std::string& format) {
  if (format != "hf") fail(str("format ", format), "holds no V-JEPA", "export with --format hf or official");
  Tensors out;
  std::vector<torch::Tensor> mask_tokens;
  for (const auto& [official, tensor] : tensors) {
    if (official.find("pos_embed") != std::string::npos)
      fail("export --format hf", "transformers' V-JEPA 2 has rotary positions, these weights a table",
           "export with --format official");
    if (official.starts_with(kMaskTokens)) {
      mask_tokens.push_back(tensor);
      continue;
    }
    const bool qkv = official.find(".attn.qkv.") != std::string::npos;
    const auto parts = qkv ? tensor.chunk(3) : std::vector<torch::Tensor>{tensor};
    for (size_t i = 0; i < parts.size(); ++i) {
      std::string name = qkv ? replaced(official, ".attn.qkv.", kQkv[i]) : official;
      for (const auto& [ours, theirs] : kHf) name = replaced(name, ours, theirs);
      out[name] = parts[i].contiguous();
    }
  }
  if (!mask_tokens.empty()) out[kHfMaskTokens] = torch::stack(mask_tokens);
  return out;
}

int64_t depth_of(const Tensors& tensors, const std::string& prefix) {
  int64_t depth = 0;
  while (tensors.count(str(prefix, depth, ".norm1.weight")) != 0) ++depth;
  return depth;
}

/// Heads of the released sizes: 64 wide up to large, 16 of them beyond.
int64_t heads_of(int64_t width) { return width <= 1024 ? std::max<int64_t>(1, width / kHeadWidth) : 16; }

Json infer(const Tensors& tensors) {
  const auto kernel = tensors.find(kKernel), fc1 = tensors.find("encoder.blocks.0.mlp.fc1.weight");
  if (kernel == tensors.end() || kernel->second.dim() != 5 || fc1 == tensors.end()) return nullptr;
  const auto sizes = kernel->second.sizes();
  const auto table = tensors.find("encoder.pos_embed");
  const bool rope = table == tensors.end();
  int64_t side = 256 / sizes[3];  // RoPE fits any size; V-JEPA 2's is 256
  if (!rope) {
    const int64_t planes = std::max<int64_t>(1, kReleasedFrames / sizes[2]);
    side = std::llround(std::sqrt(static_cast<double>(table->second.size(1) / planes)));
  }
  Json out = {{"encoder",
               {{"arch", "vit"},
                {"embed_dim", sizes[0]},
                {"in_chans", sizes[1]},
                {"tubelet_size", sizes[2]},
                {"patch_size", {sizes[3], sizes[4]}},
                {"img_size", {side * sizes[3], side * sizes[4]}},
                {"num_frames", kReleasedFrames},
                {"depth", depth_of(tensors, "encoder.blocks.")},
                {"num_heads", heads_of(sizes[0])},
                {"mlp_ratio", static_cast<double>(fc1->second.size(0)) / static_cast<double>(sizes[0])},
                {"qkv_bias", tensors.count("encoder.blocks.0.attn.qkv.bias") != 0},
                {"use_rope", rope}}},
              {"data", {{"mean", {0.485, 0.456, 0.406}}, {"std", {0.229, 0.224, 0.225}}}}};
  const auto embed = tensors.find("predictor.predictor_embed.weight"),
             proj = tensors.find("predictor.predictor_proj.weight");
  if (embed == tensors.end() || proj == tensors.end()) return out;
  int64_t mask_tokens = 0;
  while (tensors.count(str(kMaskTokens, mask_tokens)) != 0) ++mask_tokens;
  out["predictor"] = {{"embed_dim", embed->second.size(0)},
                      {"depth", depth_of(tensors, "predictor.predictor_blocks.")},
                      {"num_heads", embed->second.size(0) % 12 == 0 ? 12 : 16},
                      {"num_mask_tokens", mask_tokens}};
  if (proj->second.size(0) == sizes[1] * sizes[2] * sizes[3] * sizes[4] && proj->second.size(0) != sizes[0])
    out["stage"] = 1;
  else
    out["teacher"] = {{"arch", "vit"}, {"embed_dim", proj->second.size(0)}};
  return out;
}

}  // namespace

WeightNames salt_weight_names() { return {to_official, from_official, infer}; }

}  // namespace lacuna
