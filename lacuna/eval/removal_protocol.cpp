// What is left of a classifier's answers when parts of the pictures go (Balasubramanian & Feizi, ICCV 2023,
// section 4): accuracy, unchanged answers and their entropy by share removed, and whether the answers depend
// on the colour and the shape of the hole.

#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/core/torch.h"
#include "lacuna/eval/object_masks.h"
#include "lacuna/eval/removal.h"
#include "lacuna/eval/wordnet.h"

namespace lacuna::eval {

namespace {

constexpr double kHalf = 0.5;  // share removed where colours and shapes are compared without object masks

/// "unchanged.grey@0.5"
std::string at_degree(const std::string& metric, const std::string& removal, double degree) {
  return str(metric, ".", removal, "@", degree);
}

/// [B, F]: the order in which the segments go. Numbers that a picture has no segment of come last.
Tensor removal_order(const Supervised& model, const Batch& batch, const Tensor& segments, const Tensor& areas,
                     const ExplainConfig& config, Draws& draws) {
  auto rank = draws.uniform("removal", areas.sizes());
  if (config.order != "random") {
    const auto label = model.logits(batch.image).argmax(1);
    const auto salient =
        segment_sums(saliency(model, batch.image, label).cpu(), segments) / areas.clamp_min(1);
    rank = config.order == "salient" ? -salient : salient;
  }
  return rank.masked_fill(areas.eq(0), INFINITY).argsort(/*stable=*/true, 1, /*descending=*/false);
}

/// [B, F] float, 1 = kept: of each picture the first int(share * its segments) of `order` are gone.
Tensor kept_segments(const Tensor& order, const Tensor& counts, double share) {
  const auto place =
      order.argsort(/*stable=*/true, 1, /*descending=*/false);  // [B, F]: when each segment goes
  const auto gone = (counts.to(torch::kDouble) * share + 1e-9).floor().to(torch::kLong);
  return place.ge(gone.unsqueeze(1)).to(torch::kFloat);
}

/// Answers to the same pictures, collected batch by batch.
struct Answers {
  std::vector<Tensor> batches;
  void add(const Tensor& predicted) { batches.push_back(predicted.cpu()); }
  Tensor all() const { return torch::cat(batches); }
};

struct Tally {
  std::map<std::string, std::map<double, Answers>> by_degree;  ///< removal, share removed
  std::map<std::string, std::vector<Answers>> by_colour;       ///< the hole's content differs
  std::map<std::string, Answers> hole, shifted;                ///< as it is; its quadrants exchanged
  Answers whole, labels;
};

/// Where `kept` [B, 1, H, W] is 0, another picture: red, green, blue.
std::vector<Tensor> coloured_holes(const Supervised& model, const Model& loaded, const Tensor& image,
                                   const Tensor& kept) {
  std::vector<Tensor> out;
  for (const char* colour : {"red", "green", "blue"})
    out.push_back(Remover(model, loaded.normalization, colour).paint(image, kept));
  return out;
}

class Removal {
 public:
  Removal(const Request& request)
      : request_(request),
        config_(request.config.explain),
        model_(classifier_of(request.model, "eval removal")) {
    for (const auto& name : config_.compare)
      removers_.emplace_back(model_, request.model.normalization, name);
    if (config_.degrees.empty()) fail("explain.degrees", "is empty", "give shares such as [0, 0.5, 1]");
    colours_ = request.model.normalization.mean.size() == 3;
    if (!config_.objects.empty())
      objects_.emplace(config_.objects, request.model.config->augment, model_.input().size);
    if (!config_.wordnet.empty()) measure_meaning();
  }

  Result run() {
    const torch::NoGradGuard no_grad;
    auto loader = make_loader(request_.model, request_.test, request_.config);
    log::Progress progress("removal");
    int64_t seen = 0;
    while (auto batch = loader.next_in_epoch()) {
      if (batch->size() == 0) continue;
      batch->image = batch->image.to(request_.model.method->parameters().front().device());
      add(*batch);
      progress.update(seen += batch->size(), request_.test->size());
    }
    if (seen == 0) fail("--test", "no picture that can be read", "run `lacuna inspect` on it");
    return result();
  }

 private:
  void add(const Batch& batch) {
    const auto segments = segment(batch.image, config_).cpu();
    const auto areas = segment_sums(torch::ones(segments.sizes()), segments);
    SeededDraws draws(static_cast<uint64_t>(request_.config.seed), 0, batch.sample);
    const auto order = removal_order(model_, batch, segments, areas, config_, draws);
    const auto counts = areas.gt(0).sum(1);
    const auto kept_at = [&](double share) {
      return kept_pixels(segments, kept_segments(order, counts, share)).to(batch.image.device());
    };
    tally_.whole.add(model_.logits(batch.image).argmax(1));
    tally_.labels.add(batch.label);
    for (const auto& remover : removers_)
      for (const double degree : config_.degrees)
        tally_.by_degree[remover.name()][degree].add(remover.logits(batch.image, kept_at(degree)).argmax(1));
    add_bias(batch.image, objects_ ? (1 - objects_->of(batch.key)).to(batch.image.device()) : kept_at(kHalf));
  }

  /// The same pixels kept, but something else in the hole; the same hole, but its quadrants exchanged.
  void add_bias(const Tensor& image, const Tensor& kept) {
    const auto rolled = kept.roll({kept.size(2) / 2, kept.size(3) / 2}, {2, 3});
    for (const auto& remover : removers_) {
      tally_.hole[remover.name()].add(remover.logits(image, kept).argmax(1));
      tally_.shifted[remover.name()].add(remover.logits(image, rolled).argmax(1));
    }
    if (!colours_) return;
    const auto holes = coloured_holes(model_, request_.model, image, kept);
    auto& painted = tally_.by_colour["painting"];
    painted.resize(holes.size());
    for (size_t i = 0; i < holes.size(); ++i) {
      painted[i].add(model_.logits(holes[i]).argmax(1));
      for (const auto& remover : removers_) {
        auto& answers = tally_.by_colour[remover.name()];
        answers.resize(holes.size());
        answers[i].add(remover.logits(holes[i], kept).argmax(1));
      }
    }
  }

  /// [classes, classes]: WordNet's similarity of each two classes.
  void measure_meaning() {
    const WordNet words(config_.wordnet);
    const auto synsets = synsets_of(request_.test->classes(), config_.synsets);
    const auto classes = std::ssize(synsets);
    similarity_ = torch::ones({classes, classes}, torch::kDouble);
    for (int64_t a = 0; a < classes; ++a)
      for (int64_t b = 0; b < a; ++b)
        similarity_[a][b] = similarity_[b][a] =
            words.path_similarity(synsets[static_cast<size_t>(a)], synsets[static_cast<size_t>(b)]);
  }

  static double share(const Tensor& right) { return right.to(torch::kDouble).mean().item<double>(); }

  /// Of the answers' distribution over the classes, in nats.
  static double entropy(const Tensor& answers) {
    const auto p = torch::bincount(answers).to(torch::kDouble) / static_cast<double>(answers.numel());
    return -at::xlogy(p, p).sum().item<double>();
  }

  void add_curves(Result& result) const {
    const auto labels = tally_.labels.all(), whole = tally_.whole.all();
    std::map<std::string, std::function<double(const Tensor&)>> measures = {
        {"accuracy", [&](const Tensor& answers) { return share(answers.eq(labels)); }},
        {"unchanged", [&](const Tensor& answers) { return share(answers.eq(whole)); }},
        {"entropy", entropy}};
    if (similarity_.defined())
      measures["wordnet"] = [&](const Tensor& answers) {
        return similarity_.index({answers, labels}).mean().item<double>();
      };
    const std::map<std::string, std::string> notes = {
        {"accuracy", "Right answers by share of the segments removed."},
        {"unchanged", "Answers that are still those to the whole picture."},
        {"wordnet", "WordNet's path similarity of answer and label."},
        {"entropy",
         "Entropy in nats of the answered classes; a fall means that one class is answered to holes."}};
    for (const auto& [name, measure] : measures) {
      Json series = Json::object();
      for (const auto& [removal, degrees] : tally_.by_degree) {
        double sum = 0;
        int64_t beyond = 0;
        series[removal] = Json::array();
        for (const auto& [degree, answers] : degrees) {
          const double value = measure(answers.all());
          series[removal].push_back({degree, value});
          result.metrics[at_degree(name, removal, degree)] = value;
          if (degree > 0) sum += value, ++beyond;
        }
        if (beyond > 0) result.metrics[name + "." + removal] = sum / static_cast<double>(beyond);
      }
      result.curves.push_back({{"title", "Removal: " + name},
                               {"note", notes.at(name)},
                               {"x", "share removed"},
                               {"shares", name != "entropy"},
                               {"series", series}});
    }
  }

  Result result() const {
    Result result;
    add_curves(result);
    const auto labels = tally_.labels.all(), whole = tally_.whole.all();
    const auto right = whole.eq(labels);
    result.metrics["top1"] = share(right);
    for (const auto& [metric, removals] :
         {std::pair{"hole_accuracy.", &tally_.hole}, {"shape_accuracy.", &tally_.shifted}})
      for (const auto& [removal, answers] : *removals)
        result.metrics[metric + removal] =
            share(answers.all().masked_select(right).eq(labels.masked_select(right)));
    for (const auto& [removal, colours] : tally_.by_colour) {
      auto same = torch::ones_like(labels, torch::kBool);
      for (const auto& answers : colours) same = same.logical_and(answers.all().eq(colours.front().all()));
      result.metrics["same_for_colours." + removal] = share(same);
    }
    result.settings = {{"segments", config_.segments},
                       {"segment_size", config_.segment_size},
                       {"order", config_.order},
                       {"objects", config_.objects},
                       {"test_size", labels.numel()}};
    return result;
  }

  const Request& request_;
  const ExplainConfig& config_;
  const Supervised& model_;
  std::vector<Remover> removers_;
  std::optional<ObjectMasks> objects_;
  Tensor similarity_;  ///< undefined: not measured
  Tally tally_;
  bool colours_ = false;
};

const Register<Protocol> registered{
    "removal",
    {.summary =
         "a classifier's answers when segments of the pictures are removed: layer masking beside painting "
         "(explain.* keys)",
     .run = [](const Request& request) { return Removal(request).run(); }}};

}  // namespace
}  // namespace lacuna::eval
