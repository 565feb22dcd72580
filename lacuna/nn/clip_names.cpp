#include "lacuna/nn/clip_names.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string_view>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna::nn {

namespace {

constexpr int64_t kHeadWidth = 64;

struct Pair {
  std::string_view official, hf;
};
// Whole names, or beginnings where they end in a dot.
constexpr Pair kRest[] = {
    {"visual.class_embedding", "vision_model.embeddings.class_embedding"},
    {"visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"},
    {"visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight"},
    {"visual.ln_pre.", "vision_model.pre_layrnorm."},
    {"visual.ln_post.", "vision_model.post_layernorm."},
    {"visual.proj", "visual_projection.weight"},
    {"token_embedding.weight", "text_model.embeddings.token_embedding.weight"},
    {"positional_embedding", "text_model.embeddings.position_embedding.weight"},
    {"ln_final.", "text_model.final_layer_norm."},
    {"text_projection", "text_projection.weight"}};
constexpr Pair kBlocks[] = {{"visual.transformer.resblocks.", "vision_model.encoder.layers."},
                            {"transformer.resblocks.", "text_model.encoder.layers."}};
constexpr Pair kInBlock[] = {{"ln_1.", "layer_norm1."},
                             {"ln_2.", "layer_norm2."},
                             {"attn.out_proj.", "self_attn.out_proj."},
                             {"mlp.c_fc.", "mlp.fc1."},
                             {"mlp.c_proj.", "mlp.fc2."}};
constexpr const char* kThirds[] = {"q", "k", "v"};

template <size_t n>
std::optional<std::string> renamed(const std::string& name, const Pair (&pairs)[n], bool to_hf) {
  for (const auto& pair : pairs) {
    const auto from = to_hf ? pair.official : pair.hf, to = to_hf ? pair.hf : pair.official;
    if (name == from) return std::string(to);
    if (from.ends_with('.') && name.starts_with(from)) return std::string(to) + name.substr(from.size());
  }
  return std::nullopt;
}

/// A block's tensor: what stands before its number, the number with its dot, the rest.
struct InBlock {
  std::string stem, number, rest;
};
std::optional<InBlock> in_block(const std::string& name, bool official) {
  for (const auto& pair : kBlocks) {
    const auto stem = official ? pair.official : pair.hf;
    if (!name.starts_with(stem)) continue;
    const auto dot = name.find('.', stem.size());
    if (dot == std::string::npos) return std::nullopt;
    return InBlock{std::string(official ? pair.hf : pair.official),
                   name.substr(stem.size(), dot + 1 - stem.size()), name.substr(dot + 1)};
  }
  return std::nullopt;
}

bool is_projection(const std::string& official) {
  return official == "visual.proj" || official == "text_projection";
}

}  // namespace

bool is_hf_clip(const NamedTensors& tensors) {
  return tensors.count("vision_model.embeddings.class_embedding") != 0;
}

bool is_clip(const NamedTensors& tensors) {
  return tensors.count("visual.class_embedding") && tensors.count("visual.conv1.weight") &&
         tensors.count("visual.proj");
}

NamedTensors clip_to_hf(const NamedTensors& tensors) {
  NamedTensors out;
  for (const auto& [name, tensor] : tensors) {
    const auto block = in_block(name, /*official=*/true);
    if (!block) {
      out[renamed(name, kRest, true).value_or(name)] = is_projection(name) ? tensor.t().contiguous() : tensor;
    } else if (block->rest.starts_with("attn.in_proj_")) {
      const auto parts = tensor.chunk(3, 0);
      for (size_t i = 0; i < 3; ++i)
        out[str(block->stem, block->number, "self_attn.", kThirds[i], "_proj.",
                block->rest.substr(std::string_view("attn.in_proj_").size()))] = parts[i].contiguous();
    } else {
      out[block->stem + block->number + renamed(block->rest, kInBlock, true).value_or(block->rest)] = tensor;
    }
  }
  return out;
}

NamedTensors clip_from_hf(const NamedTensors& tensors) {
  NamedTensors out;
  for (const auto& [name, tensor] : tensors) {
    if (name.ends_with("position_ids")) continue;  // transformers before 4.31
    const auto block = in_block(name, /*official=*/false);
    const std::string third = "self_attn.q_proj.";
    if (!block) {
      const auto official = renamed(name, kRest, false).value_or(name);
      out[official] = is_projection(official) ? tensor.t().contiguous() : tensor;
    } else if (block->rest.starts_with(third)) {
      const auto prefix = name.substr(0, name.size() - block->rest.size()),
                 ending = block->rest.substr(third.size());
      std::vector<torch::Tensor> parts;
      for (const char* letter : kThirds)
        if (const auto found = tensors.find(str(prefix, "self_attn.", letter, "_proj.", ending));
            found != tensors.end())
          parts.push_back(found->second);
      if (parts.size() == 3)
        out[str(block->stem, block->number, "attn.in_proj_", ending)] = torch::cat(parts);
    } else if (!block->rest.starts_with("self_attn.k_proj.") &&
               !block->rest.starts_with("self_attn.v_proj.")) {
      out[block->stem + block->number + renamed(block->rest, kInBlock, false).value_or(block->rest)] = tensor;
    }
  }
  return out;
}

Json clip_sizes(const NamedTensors& tensors) {
  if (!is_clip(tensors)) return nullptr;
  const auto size = [&](const std::string& name, int64_t axis) { return tensors.at(name).size(axis); };
  const auto depth = [&](const std::string& blocks) {
    int64_t count = 0;
    while (tensors.count(str(blocks, count, ".ln_1.weight"))) ++count;
    return count;
  };
  const auto ratio = [&](const std::string& blocks, int64_t width) {
    const auto found = tensors.find(blocks + "0.mlp.c_fc.weight");
    return found == tensors.end() ? 4.0
                                  : static_cast<double>(found->second.size(0)) / static_cast<double>(width);
  };
  const auto heads = [](int64_t width) { return std::max<int64_t>(1, width / kHeadWidth); };
  const std::string image = "visual.transformer.resblocks.", text = "transformer.resblocks.";
  const int64_t width = size("visual.conv1.weight", 0), patches = size("visual.positional_embedding", 0) - 1,
                side = std::lround(std::sqrt(static_cast<double>(patches)));
  const int64_t ph = size("visual.conv1.weight", 2), pw = size("visual.conv1.weight", 3);
  Json out;
  out["encoder"] = {{"arch", "clip_vit"},
                    {"patch_size", {ph, pw}},
                    {"embed_dim", width},
                    {"depth", depth(image)},
                    {"num_heads", heads(width)},
                    {"in_chans", size("visual.conv1.weight", 1)},
                    {"mlp_ratio", ratio(image, width)}};
  if (side * side == patches) out["encoder"]["img_size"] = {side * ph, side * pw};
  out["projection"] = {{"dim", size("visual.proj", 1)}};
  if (!tensors.count("token_embedding.weight") || !tensors.count("positional_embedding")) return out;
  const int64_t text_width = size("token_embedding.weight", 1);
  out["text"] = {{"context_length", size("positional_embedding", 0)},
                 {"vocab_size", size("token_embedding.weight", 0)},
                 {"embed_dim", text_width},
                 {"depth", depth(text)},
                 {"num_heads", heads(text_width)},
                 {"mlp_ratio", ratio(text, text_width)}};
  return out;
}

}  // namespace lacuna::nn
