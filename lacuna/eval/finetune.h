#pragma once
// Fine-tuning: the encoder and a linear head trained on labels (MAE, section 4 and appendix A.1; SimMIM,
// section 4.1).

#include "lacuna/eval/protocol.h"

namespace lacuna::eval {

/// Logits of the whole set in order, scored. Metrics: top1, top5 (more than five classes), loss
/// (cross-entropy), chance. `classifier`: a Model whose method is "supervised".
Json classification_metrics(const Model& classifier, std::shared_ptr<data::Dataset> test,
                            const EvalConfig& config);

/// Where a protocol trains its network: an unfinished run there is continued, a finished one never written
/// over.
struct Place {
  io::fs::path folder;
  bool resume = false;
};
/// Error when the request names no folder (weights that belong to no run).
Place choose_place(const Request& request);
/// Keys of `from` below `prefix` that `to` has too.
void copy_keys(const ConfigTable& from, const std::string& prefix, ConfigTable& to,
               const std::string& origin);
/// Trains `config`, or goes on with the run that is there, on request.train; returns the run's folder.
io::fs::path train_network(const Request& request, std::unique_ptr<train::RunConfig> config);

}  // namespace lacuna::eval
