#pragma once
// Side-by-side pictures of what was hidden and what was predicted.

#include <string>
#include <vector>

#include "lacuna/data/transform.h"
#include "lacuna/method/method.h"

namespace lacuna::train {

/// One column of a panel.
struct PanelColumn {
  std::string title, note;  ///< small letters, digits, hyphens; the note stands below, in small
  Tensor pictures;          ///< [B, 3, H, W] in [0, 1]
};
/// [H', W', 3] uint8: columns side by side, a row for each of the B; pictures that are small are enlarged by
/// a whole factor. `note` stands below the first title.
Tensor draw_panel(const std::vector<PanelColumn>& columns);

/// [H', W', 3] uint8: a row for each image: original, what the encoder saw (hidden patches grey), prediction,
/// prediction under the visible patches; a caption above each column in a built-in bitmap font; small images
/// are enlarged by whole factors. Any channel count: 1 is grey, 3 colour, otherwise the first three (of two
/// the first), said in the caption. Without a pixel prediction the last two columns are left out; a number
/// for each patch (Preview::heat) is drawn in a last column, as colours from each picture's lowest to its
/// highest. Pictures that leave [0, 1] or stay below a quarter of it are stretched, all columns alike.
Tensor preview_panel(const Preview& preview, const data::Normalization& normalization);

}  // namespace lacuna::train
