#pragma once
// A config is a struct (architecture.md, idea 5). A struct lists its fields once in `void fields(Fields&)`;
// TOML, --set, `lacuna info`, the docs and a run's config.toml all follow from that list.
//
//   struct MaskConfig {
//     double ratio = 0.75;
//     void fields(Fields& f) { f("ratio", ratio, "share of the patches that is hidden").range(0, 1); }
//   };

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <variant>
#include <vector>

namespace lacuna {

using Json = nlohmann::json;  ///< what TOML is read into and written from

/// Height and width; written as 224 (both), [64, 128] or "64x128".
struct Size2 {
  int64_t h = 0, w = 0;
  bool operator==(const Size2&) const = default;
  int64_t area() const { return h * w; }  ///< h * w
};
std::ostream& operator<<(std::ostream& out, Size2 size);  ///< "64x128"

/// One key of a config: where its value lives, what it means, what it may be.
struct Field {
  /// What a config's fields may be.
  using Value = std::variant<bool*, int64_t*, double*, std::string*, Size2*, std::vector<double>*,
                             std::vector<int64_t>*, std::vector<std::string>*>;
  std::string key;  ///< full dotted key, "encoder.depth"
  Value value;
  std::string help;
  std::vector<std::string> choices_;
  double low = -std::numeric_limits<double>::infinity(), high = std::numeric_limits<double>::infinity();

  /// The words that the value, or each word of a list, may be.
  Field& choices(std::vector<std::string> allowed);
  /// Every number of the value lies in [low, high]; a Size2 on both sides.
  Field& range(double from, double to = std::numeric_limits<double>::infinity());

  Json get() const;               ///< a size as [h, w]
  void set(const Json& value);    ///< Error when type, choice or range does not fit, or text is not UTF-8
  std::string type_name() const;  ///< "int", "float", "size", "list of floats", ...
};

/// Collects the fields of a struct and of the structs inside it.
class Fields {
 public:
  /// A field called `key` with its meaning in one line; what it returns takes choices and ranges.
  template <class T>
  Field& operator()(const std::string& key, T& value, const std::string& help) {
    fields_.push_back(Field{prefix_ + key, &value, help, {}});
    return fields_.back();
  }
  /// The fields of `part` under `key.`; an empty key adds them at this level.
  template <class Part>
  void group(const std::string& key, Part& part) {
    const std::string outer = prefix_;
    if (!key.empty()) prefix_ += key + ".";
    part.fields(*this);
    prefix_ = outer;
  }
  std::vector<Field>& all() { return fields_; }  ///< in the order in which they were named

 private:
  std::string prefix_;
  std::vector<Field> fields_;
};

/// A set of config structs read and written as one document. The structs must outlive it and not move.
class ConfigTable {
 public:
  /// The fields of `part` under `key.`; an empty key adds them at the top.
  template <class Part>
  void add(const std::string& key, Part& part) {
    Fields fields;
    fields.group(key, part);
    for (auto& field : fields.all()) {
      defaults_[field.key] = field.get();
      fields_.push_back(std::move(field));
    }
  }

  /// One key from text: `set("encoder.img_size", "[64, 128]", "--set")`; unquoted words are strings.
  void set_text(const std::string& key, const std::string& text, const std::string& origin);
  /// "key=value"
  void set_assignment(const std::string& assignment, const std::string& origin);
  /// Error naming `origin` and the nearest key when there is none of that name.
  void set(const std::string& key, const Json& value, const std::string& origin);
  /// Every key of a nested document; an unknown one is an Error naming the nearest right one.
  void merge(const Json& document, const std::string& origin);
  /// As set, but the key still counts as not chosen by the user (a method's defaults).
  void set_default(const std::string& key, const std::string& text);

  /// True when the user, a recipe or a run's config gave the key.
  bool is_set(const std::string& key) const { return set_.count(key) != 0; }
  bool has(const std::string& key) const;                       ///< whether there is such a key
  Json get(const std::string& key) const;                       ///< Error when there is no such key
  const std::vector<Field>& fields() const { return fields_; }  ///< in the order of add()
  /// The value before anything was set; of a key of fields().
  Json default_of(const std::string& key) const { return defaults_.at(key); }

  Json to_json() const;         ///< nested
  std::string to_toml() const;  ///< every key, with its meaning as a comment

 private:
  Field& field(const std::string& key, const std::string& origin);

  std::vector<Field> fields_;
  std::map<std::string, Json> defaults_;
  std::set<std::string> set_;
};

/// Parses TOML text or a TOML file into JSON; Error with line and column.
Json parse_toml(const std::string& text, const std::string& origin);
Json read_toml(const std::string& path);  ///< also an Error when the file can't be read
/// The dotted keys of the leaves of a nested document, with their values; arrays are leaves.
std::vector<std::pair<std::string, Json>> leaves(const Json& document);

}  // namespace lacuna
