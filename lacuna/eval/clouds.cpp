#include "lacuna/eval/clouds.h"

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/core/torch.h"

namespace lacuna::eval {

GeoMAE& pillar_method(const Model& model, const std::string& protocol) {
  auto* method = dynamic_cast<GeoMAE*>(model.method.get());
  if (method == nullptr)
    fail(str("eval ", protocol), str(model.origin, " holds weights of ", model.config->method),
         "use a run of geomae");
  return *method;
}

void read_clouds(const Model& model, const std::shared_ptr<data::Dataset>& dataset, const EvalConfig& config,
                 const std::function<void(const Batch&)>& use) {
  const torch::NoGradGuard no_grad;
  model.method->eval();
  const auto device = model.method->parameters().front().device();
  auto loader = make_loader(model, dataset, config);
  log::Progress progress("clouds");
  int64_t read = 0;
  while (const auto batch = loader.next_in_epoch()) {
    if (batch->size() == 0) continue;  // every record of it was broken
    use(batch->to(device));
    progress.update(read += batch->size(), dataset->size());
  }
  if (read == 0) fail(dataset->uri(), "no cloud that can be read", "run `lacuna inspect` on it");
}

}  // namespace lacuna::eval
