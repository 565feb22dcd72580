#pragma once
// One set of keys for every encoder that a picture method can use; `arch` says which they build.

#include <memory>
#include <string>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/nn/beit.h"
#include "lacuna/nn/conv_net.h"
#include "lacuna/nn/swin.h"
#include "lacuna/nn/vit.h"

namespace lacuna::nn {

enum class EncoderKind { kViT, kBeit, kSwin, kConvNet };

/// Keys `encoder.*`. Those of one kind mean nothing to the others. Sizes and a kind's habits (patch, epsilon,
/// layer scale) follow from `arch` unless they are given.
struct EncoderConfig {
  std::string arch = "vit_base";
  Size2 img_size{224, 224}, patch_size{16, 16};
  int64_t in_chans = 3, embed_dim = 768, depth = 12;
  std::vector<int64_t> depths{2, 2, 6, 2}, num_heads{12};
  int64_t window_size = 7;
  double mlp_ratio = 4.0;
  bool qkv_bias = true;
  double norm_eps = 1e-6, drop_path = 0, init_values = 0;
  bool class_token = true;
  std::string pos_embed = "sincos2d-fixed";
  bool ape = false, patch_norm = true;
  bool use_abs_pos_emb = false, use_rel_pos_bias = false, use_shared_rel_pos_bias = true,
       use_mean_pooling = false;
  std::string stem = "conv7-pool";
  int64_t groups = 1, base_width = 64;

  void fields(Fields& f);
  /// `prefix`: where the keys stand in the table ("encoder").
  void resolve(const ConfigTable& table, const std::string& prefix);

  EncoderKind kind() const;
  ViTConfig vit() const;                              ///< kViT
  BeitConfig beit() const;                            ///< kBeit
  SwinConfig swin() const;                            ///< kSwin
  ConvNetConfig conv_net(int64_t num_classes) const;  ///< kConvNet
  /// kBeit or kSwin, with a mask token. `init_bound`: BeitConfig's.
  std::shared_ptr<GridEncoder> make_grid_encoder(double init_bound) const;
  Size2 grid() const { return {img_size.h / patch_size.h, img_size.w / patch_size.w}; }
};

/// swin_tiny, beit_base, ...: the names with a size, of every kind.
std::vector<std::string> encoder_archs();

}  // namespace lacuna::nn
