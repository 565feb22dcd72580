#include "lacuna/eval/probe_config.h"

namespace lacuna::eval {

void ProbeConfig::fields(Fields& f) {
  f("layers", layers, "layers that are looked at, 0 = the input of the first block; empty: all").range(0);
  f("epochs", epochs, "weighted-layers: passes over the training features").range(1);
  f("batch_size", batch_size, "weighted-layers: records in a batch").range(1);
  f("width", width, "weighted-layers: of the projection before the classifier; 0: none").range(0);
  f("lr", lr, "weighted-layers: Adam's rates tried; a held-out tenth of --data picks one").range(0);
  f("target", target, "frame-regression: what is regressed on, 80 log-mel energies or 13 cepstra")
      .choices({"logmel", "mfcc"});
  f("ridge", ridge, "frame-regression: weight of the penalty, times the number of frames").range(0);
  f("clusters", clusters, "label-quality: clusters of each layer").range(2);
  f("max_frames", max_frames, "label-quality: frames that clusters are fitted on, at most").range(100);
  f("frame_labels", frame_labels,
    "label-quality: file of frame classes of --test (a line a record); empty: the record's class");
  f("label_rate", label_rate, "label-quality: frame classes a second in that file").range(0.1);
  f("beam", beam, "ctc: prefixes that are kept while tokens are searched; 1: the best class of each frame")
      .range(1, 1000);
}

}  // namespace lacuna::eval
