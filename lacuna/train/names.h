#pragma once
// The same weights under other libraries' names: official (the papers' repositories, which are ours), timm,
// and transformers (hf), for ViT/MAE and Swin/SimMIM.

#include <string>
#include <vector>

#include "lacuna/io/safetensors.h"

namespace lacuna::train {

/// "official", "timm", "hf".
std::vector<std::string> name_formats();

/// Which of them a file's names are. Official where timm's are the same (a plain ViT).
std::string format_of(const io::Tensors& tensors);

/// Under official names: queries, keys and values become one qkv; timm's Swin, which counts the patch merging
/// to the next stage, is shifted back. Names that no rule knows are kept, so that strict loading reports
/// them.
io::Tensors to_official(io::Tensors tensors);

/// From official names to `format`. Tables that are computed from the config (relative_position_index,
/// attn_mask) are left out: no other library stores them. `timm` holds what timm's models of that
/// architecture hold; decoders keep their official names there.
io::Tensors from_official(const io::Tensors& tensors, const std::string& format);

/// "encoder." in front of an encoder's names, as SimMIM has them; decoder and classifier keep theirs.
io::Tensors with_encoder_prefix(io::Tensors tensors);

/// True for what only pre-training has: decoder and mask token.
bool is_pretraining_only(const std::string& official_name);
/// True for a buffer that follows from the config.
bool is_derived(const std::string& official_name);

}  // namespace lacuna::train
