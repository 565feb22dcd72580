#pragma once
// Relative position biases of windowed and BEiT-style attention, and their resizing for other windows.

#include <torch/types.h>

#include "lacuna/core/config.h"

namespace lacuna::nn {

/// Rows of a table that holds one bias for each offset in a window of `window` tokens: (2h-1)(2w-1), and
/// three more with a class token (class to any, any to class, class to itself).
int64_t relative_table_rows(Size2 window, bool class_token);

/// [N, N] int64: row of the table for query a and key b, (ya-yb+h-1)(2w-1) + (xa-xb+w-1), tokens in raster
/// order; N = h*w. With a class token (token 0) N = h*w + 1 (BEiT, modeling_finetune.py).
torch::Tensor relative_position_index(Size2 window, bool class_token);

/// table [rows, heads] looked up by index [N, N] -> [heads, N, N].
torch::Tensor relative_position_bias(const torch::Tensor& table, const torch::Tensor& index);

/// Table of window `from` for window `to`, as SimMIM and BEiT fine-tune at another size: the source offsets
/// are spread in geometric progression (dense near zero) so that the outermost meets the new window's edge,
/// and an interpolating cubic spline (not-a-knot, as FITPACK's) is read at the whole offsets. The three rows
/// of a class token are kept. [rows(from), heads] -> [rows(to), heads].
torch::Tensor resize_relative_table(const torch::Tensor& table, Size2 from, Size2 to, bool class_token);

}  // namespace lacuna::nn
