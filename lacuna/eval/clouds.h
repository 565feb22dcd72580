#pragma once
// What the protocols that look at pillars share.

#include <functional>
#include <memory>
#include <string>

#include "lacuna/eval/protocol.h"
#include "lacuna/method/geomae.h"

namespace lacuna::eval {

/// The model's method; Error naming `protocol` when it reads no pillars.
GeoMAE& pillar_method(const Model& model, const std::string& protocol);
/// Calls `use` for each batch of clouds of `dataset`, in order, on the model's device, without gradients, the
/// method in evaluation mode. Error when no cloud can be read.
void read_clouds(const Model& model, const std::shared_ptr<data::Dataset>& dataset, const EvalConfig& config,
                 const std::function<void(const Batch&)>& use);

}  // namespace lacuna::eval
