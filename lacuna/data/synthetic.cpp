#include "lacuna/data/synthetic.h"

#include <functional>
#include <map>

#include "lacuna/core/error.h"
#include "lacuna/data/dataset.h"
#include "lacuna/data/point_classes.h"
#include "lacuna/data/synthetic_facts.h"
#include "lacuna/data/synthetic_moving.h"
#include "lacuna/data/synthetic_rooms.h"
#include "lacuna/data/synthetic_speech.h"
#include "lacuna/data/synthetic_terrain.h"
#include "lacuna/data/synthetic_walkers.h"

namespace lacuna::data {

namespace {

using Content = decltype(Record::content);
using Draw = std::function<Content(int64_t label, Stream random)>;

class SyntheticDataset final : public Dataset, public PointClasses {
 public:
  SyntheticDataset(std::string name, std::string uri, SyntheticConfig config,
                   std::vector<std::string> classes, Draw draw, std::string modality = "image",
                   std::vector<std::string> point_classes = {})
      : stream_(name + "/" + config.split),
        uri_(std::move(uri)),
        config_(std::move(config)),
        classes_(std::move(classes)),
        draw_(std::move(draw)),
        modality_(std::move(modality)),
        point_classes_(std::move(point_classes)) {}

  int64_t size() const override { return config_.count; }

  Record get(int64_t index) const override {
    const auto sample = static_cast<uint64_t>(index);
    const int64_t of = label(index);
    return {str("synthetic:", stream_, "#", index), of, draw_(of, Stream(seed(), stream_, sample))};
  }

  // Each run of as many records as there are classes holds every class once, in an order of its own.
  int64_t label(int64_t index) const override {
    const auto classes = static_cast<int64_t>(classes_.size());
    if (classes == 0) return kNoLabel;
    Stream order(seed(), stream_ + "/labels", static_cast<uint64_t>(index / classes));
    return order.permutation(classes)[static_cast<size_t>(index % classes)];
  }

  std::vector<std::string> classes() const override { return classes_; }
  std::vector<std::string> point_classes() const override { return point_classes_; }
  std::string uri() const override { return uri_; }
  std::string modality() const override { return modality_; }
  /// Of drawn speech whose classes are its words.
  std::string transcript(int64_t index) const override {
    return classes_ == speech_words() ? classes_[static_cast<size_t>(label(index))] : "";
  }

 private:
  uint64_t seed() const { return static_cast<uint64_t>(config_.seed); }

  std::string stream_, uri_;
  SyntheticConfig config_;
  std::vector<std::string> classes_;
  Draw draw_;
  std::string modality_;
  std::vector<std::string> point_classes_;
};

/// The settings that a URI's query gives, under the keys of `Config`.
template <class Config>
Config take_query(Uri& uri) {
  Config config;
  ConfigTable table;
  table.add("", config);
  for (const auto& field : table.fields()) {
    const std::string text = uri.take(field.key, "");
    if (!text.empty()) table.set_text(field.key, text, uri.text);
  }
  return config;
}

// As written, with the split where another than the set's own was chosen for the user.
std::string opened_uri(const Uri& uri, const std::string& split) {
  if (split == "train" || uri.text.find("split=") != std::string::npos) return uri.text;
  return str(uri.text, uri.text.find('?') == std::string::npos ? '?' : '&', "split=", split);
}

struct ScenesConfig : SyntheticPictures {
  int64_t classes = kMaxSceneClasses;
  void fields(Fields& f) {
    SyntheticPictures::fields(f);
    f("classes", classes, "the first so many shapes are drawn").range(2, kMaxSceneClasses);
  }
};

std::shared_ptr<Dataset> open_scenes(Uri& uri) {
  const auto config = take_query<ScenesConfig>(uri);
  std::vector<std::string> names;
  for (int64_t i = 0; i < config.classes; ++i) names.emplace_back(kSceneShapes[static_cast<size_t>(i)].name);
  const auto draw = [size = config.size](int64_t label, Stream random) {
    return Content(io::Image{draw_scene(size, label, random), 255});
  };
  return std::make_shared<SyntheticDataset>("scenes", opened_uri(uri, config.split), config, names, draw);
}

struct BandsConfig : SyntheticPictures {
  int64_t channels = 5;
  void fields(Fields& f) {
    SyntheticPictures::fields(f);
    f("channels", channels, "bands of a picture").range(1, 64);
  }
};

std::shared_ptr<Dataset> open_bands(Uri& uri) {
  const auto config = take_query<BandsConfig>(uri);
  const std::vector<std::string> names(kBandClassNames, kBandClassNames + kBandClasses);
  const auto draw = [size = config.size, channels = config.channels](int64_t label, Stream random) {
    return Content(io::Image{draw_bands(size, channels, label, random), 255});
  };
  return std::make_shared<SyntheticDataset>("bands", opened_uri(uri, config.split), config, names, draw);
}

struct SpeechConfig : SyntheticConfig {
  std::string label = "word";
  void fields(Fields& f) {
    SyntheticConfig::fields(f);
    f("label", label, "what the classes are").choices({"word", "speaker"});
  }
};

std::shared_ptr<Dataset> open_speech(Uri& uri) {
  const auto config = take_query<SpeechConfig>(uri);
  const bool words = config.label == "word";
  const auto draw = [words](int64_t label, Stream random) {
    const int64_t other = random.below(words ? kSpeechSpeakers : kSpeechWords);
    return Content(words ? draw_speech(label, other, random) : draw_speech(other, label, random));
  };
  return std::make_shared<SyntheticDataset>("speech", opened_uri(uri, config.split), config,
                                            words ? speech_words() : speech_speakers(), draw, "audio");
}

struct MovingConfig : SyntheticPictures {
  MovingConfig() { size = {64, 64}; }
  int64_t frames = 16;
  void fields(Fields& f) {
    SyntheticPictures::fields(f);
    f("frames", frames, "of a film").range(2, 4096);
  }
};

std::shared_ptr<Dataset> open_moving(Uri& uri) {
  const auto config = take_query<MovingConfig>(uri);
  const auto draw = [size = config.size, frames = config.frames](int64_t label, Stream random) {
    return Content(draw_moving(size, frames, label, random));
  };
  return std::make_shared<SyntheticDataset>("moving", opened_uri(uri, config.split), config, motion_names(),
                                            draw, "video");
}

struct WalkersConfig : SyntheticConfig {
  int64_t frames = 200;
  WalkersConfig() { count = 600; }
  void fields(Fields& f) {
    SyntheticConfig::fields(f);
    f("frames", frames, "frames of a recording, 25 a second").range(2, 100000);
  }
};

std::shared_ptr<Dataset> open_walkers(Uri& uri) {
  const auto config = take_query<WalkersConfig>(uri);
  const auto draw = [frames = config.frames](int64_t label, Stream random) {
    return Content(draw_walker(label, frames, random));
  };
  return std::make_shared<SyntheticDataset>("walkers", opened_uri(uri, config.split), config,
                                            walker_actions(), draw, "motion");
}

struct CloudsConfig : SyntheticConfig {
  int64_t points = 2048;
  void fields(Fields& f) {
    SyntheticConfig::fields(f);
    f("points", points, "points of a cloud").range(1, 1e7);
  }
};

std::shared_ptr<Dataset> open_rooms(Uri& uri) {
  const auto config = take_query<CloudsConfig>(uri);
  const auto draw = [points = config.points](int64_t label, Stream random) {
    return Content(draw_room(label, points, random));
  };
  return std::make_shared<SyntheticDataset>("rooms", opened_uri(uri, config.split), config, room_objects(),
                                            draw, "points", room_point_classes());
}

std::shared_ptr<Dataset> open_terrain(Uri& uri) {
  const auto config = take_query<CloudsConfig>(uri);
  const auto draw = [points = config.points](int64_t /*label*/, Stream random) {
    return Content(draw_terrain(points, random));
  };
  return std::make_shared<SyntheticDataset>("terrain", opened_uri(uri, config.split), config,
                                            std::vector<std::string>{}, draw, "points");
}

struct FactsConfig : SyntheticConfig {
  int64_t chars = 250, facts = 1, digits = 3;
  std::string text;
  void fields(Fields& f) {
    SyntheticConfig::fields(f);
    f("chars", chars, "characters of a text, about").range(64, 1e9);
    f("facts", facts, "codes in a text").range(1, 200);
    f("digits", digits, "of a code").range(1, 18);
    f("text", text, "a file whose lines stand between them; empty: drawn sentences");
  }
};

std::shared_ptr<Dataset> open_facts(Uri& uri) {
  const auto config = take_query<FactsConfig>(uri);
  std::vector<std::string> lines;
  if (!config.text.empty()) {
    lines = filler_lines(io::read_file(config.text));
    if (lines.empty()) fail(config.text, "holds no line of text", "name another file");
  }
  const auto draw = [config, lines](int64_t /*label*/, Stream random) {
    return Content(draw_facts_text(config.chars, config.facts, config.digits, lines, random));
  };
  return std::make_shared<SyntheticDataset>("facts", opened_uri(uri, config.split), config,
                                            std::vector<std::string>{}, draw, "text");
}

const std::map<std::string, std::shared_ptr<Dataset> (*)(Uri&)> kSets{
    {"bands", open_bands},   {"facts", open_facts},   {"moving", open_moving},   {"rooms", open_rooms},
    {"scenes", open_scenes}, {"speech", open_speech}, {"terrain", open_terrain}, {"walkers", open_walkers}};

std::shared_ptr<Dataset> open_synthetic(Uri& uri) {
  const auto found = kSets.find(uri.path);
  if (found != kSets.end()) return found->second(uri);
  std::vector<std::string> names;
  for (const auto& [name, open] : kSets) names.push_back(name);
  fail(str("synthetic data set '", uri.path, "'"), "unknown", suggest(uri.path, names));
}

const Register<DatasetScheme> registered{
    "synthetic",
    {"synthetic:scenes|bands|speech|moving|walkers|rooms|terrain|facts?count=5000&size=96&seed=0&split=train",
     "drawn by the program: shapes in scenes (classes=10), textured fields of many bands (channels=5), "
     "spoken words (label=word|speaker), films of moving shapes (frames=16), bodies in motion (frames=200), "
     "rooms and hills as points (points=2048), "
     "texts in which things have codes (chars=250)",
     open_synthetic, [](const Uri&) {
       return std::vector<std::string>{"train", "test"};
     }}};

}  // namespace

void SyntheticConfig::fields(Fields& f) {
  f("count", count, "records of the split").range(1, 1e12);
  f("seed", seed, "another seed draws another set").range(0);
  f("split", split, "the splits share no record").choices({"train", "test"});
}

void SyntheticPictures::fields(Fields& f) {
  SyntheticConfig::fields(f);
  f("size", size, "height and width of a picture").range(8, 4096);
}

}  // namespace lacuna::data
