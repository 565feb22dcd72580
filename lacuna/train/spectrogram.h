#pragma once
// Sound as pictures: log-mel spectrograms and coloured strips of labels.

#include "lacuna/method/method.h"

namespace lacuna::train {

/// Log-mel spectrogram of wave [N], in colours: [3, 40, M] in [0, 1], low tones at the bottom, a column each
/// 10 ms.
Tensor spectrogram(const Tensor& wave, int64_t sample_rate);

/// [H, W, 3] uint8: a row for each recording: its spectrogram; the same with the hidden spans grey; below one
/// another the true and the predicted labels of the hidden frames, a colour a label.
Tensor sound_panel(const Preview& preview, int64_t sample_rate);

}  // namespace lacuna::train
