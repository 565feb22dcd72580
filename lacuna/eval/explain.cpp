#include "lacuna/eval/explain.h"

#include <cstdio>

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/subset.h"
#include "lacuna/io/image.h"
#include "lacuna/io/safetensors.h"
#include "lacuna/train/describe.h"

namespace lacuna::eval {

namespace {

/// [C, H, W] normalised -> in [0, 1].
Tensor to_unit(const Tensor& image, const data::Normalization& normalization) {
  const auto values = [&](const std::vector<double>& v) {
    return torch::tensor(v, torch::kDouble).to(torch::kFloat).view({-1, 1, 1});
  };
  return (image.cpu() * values(normalization.std) + values(normalization.mean)).clamp(0, 1);
}

/// Everything found so far, a row a picture.
struct Found {
  std::map<std::string, std::vector<Tensor>> rows;
  std::vector<Tensor> pictures;  ///< [H, W', 3] uint8
  Json items = Json::array();

  void add(const std::string& name, const Tensor& tensor) { rows[name].push_back(tensor.cpu()); }

  io::Tensors tensors() const {
    io::Tensors out;
    for (const auto& [name, parts] : rows) out[name] = torch::cat(parts);
    return out;
  }
};

/// Picture and heat map beside each other, small ones enlarged.
Tensor panel(const Tensor& picture, const Tensor& attribution) {
  constexpr int64_t kLeastSide = 192;
  const int64_t factor = std::max<int64_t>(1, kLeastSide / std::max(picture.size(1), picture.size(2)));
  const auto colour = picture.slice(0, 0, 3).expand({3, -1, -1}).mul(255).round().to(torch::kByte);
  return torch::cat({colour.permute({1, 2, 0}), heat_map(picture, attribution)}, 1)
      .repeat_interleave(factor, 0)
      .repeat_interleave(factor, 1)
      .contiguous();
}

void add_batch(Found& found, const Batch& batch, const Explanation& explanation, const Model& model) {
  const torch::NoGradGuard no_grad;
  const auto predicted = classifier_of(model, "explain").logits(batch.image).argmax(1);
  found.add("attribution", explanation.attribution.to(torch::kFloat));
  found.add("target", explanation.target), found.add("probability", explanation.probability);
  found.add("label", batch.label), found.add("predicted", predicted);
  if (explanation.segments.defined()) found.add("segments", explanation.segments);
  for (const auto& [name, rows] : explanation.more) found.add(name, rows);
  for (int64_t i = 0; i < batch.size(); ++i) {
    found.items.push_back({{"key", batch.key[static_cast<size_t>(i)]},
                           {"label", batch.label[i].item<int64_t>()},
                           {"predicted", predicted[i].item<int64_t>()},
                           {"target", explanation.target[i].item<int64_t>()},
                           {"probability", explanation.probability[i].item<double>()}});
    found.pictures.push_back(
        panel(to_unit(batch.image[i], model.normalization), explanation.attribution[i].cpu()));
  }
}

void write(const io::fs::path& out, const Found& found, const Json& document) {
  io::write_folder_atomically(out, [&](const io::fs::path& folder) {
    io::save_safetensors(folder / "attributions.safetensors", found.tensors());
    io::write_atomically(folder / "attributions.json", document.dump(2) + "\n");
    io::make_folder(folder / "heatmaps");
    for (size_t i = 0; i < found.pictures.size(); ++i) {
      char name[32];
      std::snprintf(name, sizeof name, "%05zu.png", i);
      io::write_atomically(folder / "heatmaps" / name, io::encode_png(found.pictures[i]));
    }
  });
}

Json keys_of(ExplainConfig config) {
  ConfigTable table;
  table.add("", config);
  return table.to_json();
}

}  // namespace

Json describe(const std::string& name, const Explainer& explainer) {
  ExplainConfig config;
  ConfigTable table;
  table.add("explain", config);
  return {{"name", name},
          {"title", explainer.title},
          {"paper", explainer.paper},
          {"code", explainer.code},
          {"summary", explainer.summary},
          {"parts", explainer.parts},
          {"config", train::describe_keys(table)}};
}

Tensor heat_map(const Tensor& image, const Tensor& attribution) {
  constexpr double kFaint = 0.35;  // share of the grey picture under the colours
  const auto grey = image.mean(0);
  const auto peak = attribution.abs().max().clamp_min(1e-12);
  const auto strength = attribution / peak, positive = strength.clamp_min(0),
             negative = (-strength).clamp_min(0);
  const auto faint = grey * kFaint + (1 - kFaint);
  const auto red = faint * (1 - negative), green = faint * (1 - positive) * (1 - negative),
             blue = faint * (1 - positive);
  return torch::stack({red, green, blue}, 2).mul(255).round().to(torch::kByte);
}

Json explain(const ExplainRequest& request) {
  const auto& explainer = Registry<Explainer>::instance().get(request.explainer);
  if (io::fs::exists(request.out))
    fail("--out " + request.out.string(), "is there already", "name a new folder");
  auto settings = request.settings;
  const auto config = take_eval_config(settings);
  const auto model = load_model(request.weights, settings, {.best = request.best});
  const auto device = model.method->parameters().front().device();
  const auto uri = request.data.empty() ? model.config->data.uri : request.data;
  auto dataset = data::balanced_subset(data::open_dataset(uri, "test"), config.max_test,
                                       static_cast<uint64_t>(config.seed));
  auto loader = make_loader(model, dataset, config);
  Found found;
  {
    log::Progress progress("explain");
    while (auto batch = loader.next_in_epoch()) {
      if (batch->size() == 0) continue;
      batch->image = batch->image.to(device), batch->label = batch->label.to(device);
      SeededDraws draws(static_cast<uint64_t>(config.seed), 0, batch->sample);
      add_batch(found, *batch, explainer.explain(model, *batch, config.explain, draws), model);
      progress.update(std::ssize(found.pictures), dataset->size());
    }
  }
  if (found.pictures.empty()) fail(uri, "no picture that can be read", "run `lacuna inspect` on it");
  const Json document = {{"explainer", request.explainer},
                         {"weights", model.origin},
                         {"data", dataset->uri()},
                         {"classes", dataset->classes()},
                         {"settings", keys_of(config.explain)},
                         {"items", found.items}};
  write(request.out, found, document);
  return document;
}

}  // namespace lacuna::eval
