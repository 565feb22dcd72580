#include "lacuna/data/synthetic.h"

#include <functional>
#include <map>

#include "lacuna/data/dataset.h"

namespace lacuna::data {

namespace {

using Draw = std::function<at::Tensor(Size2 size, int64_t label, Stream random)>;

class SyntheticDataset final : public Dataset {
 public:
  SyntheticDataset(std::string name, std::string uri, SyntheticConfig config,
                   std::vector<std::string> classes, Draw draw)
      : stream_(name + "/" + config.split),
        uri_(std::move(uri)),
        config_(std::move(config)),
        classes_(std::move(classes)),
        draw_(std::move(draw)) {}

  int64_t size() const override { return config_.count; }

  Record get(int64_t index) const override {
    const auto sample = static_cast<uint64_t>(index);
    const int64_t of = label(index);
    io::Image image{draw_(config_.size, of, Stream(seed(), stream_, sample)), 255};
    return {str("synthetic:", stream_, "#", index), of, std::move(image)};
  }

  // Each run of as many records as there are classes holds every class once, in an order of its own.
  int64_t label(int64_t index) const override {
    const auto classes = static_cast<int64_t>(classes_.size());
    Stream order(seed(), stream_ + "/labels", static_cast<uint64_t>(index / classes));
    return order.permutation(classes)[static_cast<size_t>(index % classes)];
  }

  std::vector<std::string> classes() const override { return classes_; }
  std::string uri() const override { return uri_; }

 private:
  uint64_t seed() const { return static_cast<uint64_t>(config_.seed); }

  std::string stream_, uri_;
  SyntheticConfig config_;
  std::vector<std::string> classes_;
  Draw draw_;
};

// Reads the query keys that `table` lists.
void take_query(Uri& uri, ConfigTable& table) {
  for (const auto& field : table.fields()) {
    const std::string text = uri.take(field.key, "");
    if (!text.empty()) table.set_text(field.key, text, uri.text);
  }
}

// As written, with the split where another than the set's own was chosen for the user.
std::string opened_uri(const Uri& uri, const std::string& split) {
  if (split == "train" || uri.text.find("split=") != std::string::npos) return uri.text;
  return str(uri.text, uri.text.find('?') == std::string::npos ? '?' : '&', "split=", split);
}

struct ScenesConfig : SyntheticConfig {
  int64_t classes = kMaxSceneClasses;
  void fields(Fields& f) {
    SyntheticConfig::fields(f);
    f("classes", classes, "the first so many shapes are drawn").range(2, kMaxSceneClasses);
  }
};

std::shared_ptr<Dataset> open_scenes(Uri& uri) {
  ScenesConfig config;
  ConfigTable table;
  table.add("", config);
  take_query(uri, table);
  std::vector<std::string> names;
  for (int64_t i = 0; i < config.classes; ++i) names.emplace_back(kSceneShapes[static_cast<size_t>(i)].name);
  return std::make_shared<SyntheticDataset>("scenes", opened_uri(uri, config.split), config, names,
                                            draw_scene);
}

struct BandsConfig : SyntheticConfig {
  int64_t channels = 5;
  void fields(Fields& f) {
    SyntheticConfig::fields(f);
    f("channels", channels, "bands of a picture").range(1, 64);
  }
};

std::shared_ptr<Dataset> open_bands(Uri& uri) {
  BandsConfig config;
  ConfigTable table;
  table.add("", config);
  take_query(uri, table);
  const std::vector<std::string> names(kBandClassNames, kBandClassNames + kBandClasses);
  const auto draw = [channels = config.channels](Size2 size, int64_t label, Stream random) {
    return draw_bands(size, channels, label, random);
  };
  return std::make_shared<SyntheticDataset>("bands", opened_uri(uri, config.split), config, names, draw);
}

const std::map<std::string, std::shared_ptr<Dataset> (*)(Uri&)> kSets{{"bands", open_bands},
                                                                      {"scenes", open_scenes}};

std::shared_ptr<Dataset> open_synthetic(Uri& uri) {
  const auto found = kSets.find(uri.path);
  if (found != kSets.end()) return found->second(uri);
  std::vector<std::string> names;
  for (const auto& [name, open] : kSets) names.push_back(name);
  fail(str("synthetic data set '", uri.path, "'"), "unknown", suggest(uri.path, names));
}

const Register<DatasetScheme> registered{"synthetic",
                                         {"synthetic:scenes|bands?count=5000&size=96&seed=0&split=train",
                                          "pictures drawn by the program: shapes in scenes (classes=10), or "
                                          "textured fields of many bands (channels=5)",
                                          open_synthetic, [](const Uri&) {
                                            return std::vector<std::string>{"train", "test"};
                                          }}};

}  // namespace

void SyntheticConfig::fields(Fields& f) {
  f("count", count, "records of the split").range(1, 1e12);
  f("size", size, "height and width of a picture").range(8, 4096);
  f("seed", seed, "another seed draws another set").range(0);
  f("split", split, "the splits share no picture").choices({"train", "test"});
}

}  // namespace lacuna::data
