#pragma once
// Moving pictures for people to look at: APNG, which every browser plays and every PNG reader shows the first
// picture of.

#include <ATen/core/Tensor.h>

#include <string>

namespace lacuna::io {

/// frames [T, H, W, C] uint8 with C = 1 or 3, T >= 1, shown `rate` of them a second, for ever (Animated PNG,
/// PNG specification, third edition).
std::string encode_apng(const at::Tensor& frames, double rate);

}  // namespace lacuna::io
