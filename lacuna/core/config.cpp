#include "lacuna/core/config.h"

#include <cmath>
#include <fstream>
#include <iomanip>
#include <sstream>
#define TOML_EXCEPTIONS 1
#include <toml++/toml.h>

#include "lacuna/core/error.h"

namespace lacuna {

namespace {

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

[[noreturn]] void bad_value(const Field& field, const Json& value, const std::string& expected) {
  const std::string got = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  fail("config key '" + field.key + "'", "got " + got + ", expected " + expected,
       "see `lacuna info` for its meaning");
}

bool is_utf8(const std::string& text) {
  try {
    return !Json(text).dump().empty();
  } catch (const Json::type_error&) {
    return false;
  }
}

int64_t as_int(const Field& field, const Json& value) {
  if (value.is_number_integer()) return value.get<int64_t>();
  if (value.is_number_float()) {
    const double number = value.get<double>();
    if (std::abs(number) < 9e15 && number == std::floor(number)) return static_cast<int64_t>(number);
  }
  bad_value(field, value, "a whole number");
}

double as_double(const Field& field, const Json& value) {
  if (!value.is_number()) bad_value(field, value, "a number");
  return value.get<double>();
}

Size2 as_size(const Field& field, const Json& value) {
  if (value.is_number()) return {as_int(field, value), as_int(field, value)};
  if (value.is_array() && value.size() == 2) return {as_int(field, value[0]), as_int(field, value[1])};
  if (value.is_string()) {
    long long h = 0, w = 0;
    char rest = 0;
    if (std::sscanf(value.get<std::string>().c_str(), "%lldx%lld%c", &h, &w, &rest) == 2) return {h, w};
  }
  bad_value(field, value, "a size: 224, [64, 128] or \"64x128\" (height, width)");
}

template <class T, class Read>
std::vector<T> as_list(const Field& field, const Json& value, Read read) {
  if (!value.is_array()) return {read(field, value)};
  std::vector<T> out;
  for (const auto& element : value) out.push_back(read(field, element));
  return out;
}

std::string as_string(const Field& field, const Json& value) {
  if (!value.is_string()) bad_value(field, value, "a string");
  auto text = value.get<std::string>();
  if (!is_utf8(text)) bad_value(field, value, "UTF-8 text");  // TOML, a run's config.toml, holds nothing else
  return text;
}

Json toml_to_json(const toml::node& node) {
  if (const auto* table = node.as_table()) {
    Json out = Json::object();
    for (const auto& [key, value] : *table) out[std::string(key.str())] = toml_to_json(value);
    return out;
  }
  if (const auto* array = node.as_array()) {
    Json out = Json::array();
    for (const auto& value : *array) out.push_back(toml_to_json(value));
    return out;
  }
  if (const auto* value = node.as_string()) return value->get();
  if (const auto* value = node.as_integer()) return value->get();
  if (const auto* value = node.as_floating_point()) return value->get();
  if (const auto* value = node.as_boolean()) return value->get();
  std::ostringstream text;
  node.visit([&text](const auto& leaf) {
    if constexpr (toml::is_date<decltype(leaf)> || toml::is_time<decltype(leaf)> ||
                  toml::is_date_time<decltype(leaf)>)
      text << leaf.get();
  });
  return text.str();
}

// TOML writes floats with a point or exponent, inf and nan as words.
std::string toml_value(const Json& value) {
  if (value.is_number_float()) {
    const double number = value.get<double>();
    if (std::isinf(number)) return number > 0 ? "inf" : "-inf";
    if (std::isnan(number)) return "nan";
    std::string text = value.dump();
    return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
  }
  if (value.is_array()) {
    std::vector<std::string> parts;
    for (const auto& element : value) parts.push_back(toml_value(element));
    return str("[", join(parts), "]");
  }
  std::string text = value.dump();  // JSON's strings, integers and booleans are TOML's, but for one character
  for (size_t at = text.find('\x7f'); at != std::string::npos; at = text.find('\x7f', at))
    text.replace(at, 1, "\\u007f");
  return text;
}

void collect_leaves(const Json& node, const std::string& prefix,
                    std::vector<std::pair<std::string, Json>>& out) {
  if (!node.is_object()) {
    out.emplace_back(prefix, node);
    return;
  }
  for (const auto& [key, value] : node.items())
    collect_leaves(value, prefix.empty() ? key : prefix + "." + key, out);
}

}  // namespace

std::ostream& operator<<(std::ostream& out, Size2 size) { return out << size.h << 'x' << size.w; }

Field& Field::choices(std::vector<std::string> allowed) {
  choices_ = std::move(allowed);
  return *this;
}

Field& Field::range(double from, double to) {
  low = from, high = to;
  return *this;
}

Json Field::get() const {
  return std::visit(Overloaded{[](const Size2* size) {
                                 return Json::array({size->h, size->w});
                               },
                               [](const auto* plain) { return Json(*plain); }},
                    value);
}

void Field::set(const Json& json) {
  const auto in_range = [&](double number) {
    if (!(number >= low && number <= high)) bad_value(*this, json, str("a value in [", low, ", ", high, "]"));
  };
  const auto allowed = [&](const std::string& word) {
    if (!choices_.empty() && std::find(choices_.begin(), choices_.end(), word) == choices_.end())
      fail("config key '" + key + "'", "'" + word + "' is not a choice",
           suggest(word, choices_) + " (choices: " + join(choices_) + ")");
  };
  std::visit(Overloaded{[&](bool* v) {
                          if (!json.is_boolean()) bad_value(*this, json, "true or false");
                          *v = json.get<bool>();
                        },
                        [&](int64_t* v) {
                          const auto number = as_int(*this, json);
                          in_range(static_cast<double>(number));
                          *v = number;
                        },
                        [&](double* v) {
                          const auto number = as_double(*this, json);
                          in_range(number);
                          *v = number;
                        },
                        [&](std::string* v) {
                          auto word = as_string(*this, json);
                          allowed(word);
                          *v = std::move(word);
                        },
                        [&](Size2* v) {
                          const auto size = as_size(*this, json);
                          in_range(static_cast<double>(size.h));
                          in_range(static_cast<double>(size.w));
                          *v = size;
                        },
                        [&](std::vector<double>* v) {
                          auto list = as_list<double>(*this, json, as_double);
                          for (const double number : list) in_range(number);
                          *v = std::move(list);
                        },
                        [&](std::vector<int64_t>* v) {
                          auto list = as_list<int64_t>(*this, json, as_int);
                          for (const auto number : list) in_range(static_cast<double>(number));
                          *v = std::move(list);
                        },
                        [&](std::vector<std::string>* v) {
                          auto list = as_list<std::string>(*this, json, as_string);
                          for (const auto& word : list) allowed(word);
                          *v = std::move(list);
                        }},
             value);
}

std::string Field::type_name() const {
  return std::visit(
      Overloaded{[](const bool*) { return "bool"; }, [](const int64_t*) { return "int"; },
                 [](const double*) { return "float"; }, [](const std::string*) { return "string"; },
                 [](const Size2*) { return "size"; },
                 [](const std::vector<double>*) { return "list of floats"; },
                 [](const std::vector<int64_t>*) { return "list of ints"; },
                 [](const std::vector<std::string>*) { return "list of strings"; }},
      value);
}

Field& ConfigTable::field(const std::string& key, const std::string& origin) {
  for (auto& field : fields_)
    if (field.key == key) return field;
  std::vector<std::string> keys;
  for (const auto& field : fields_) keys.push_back(field.key);
  const std::string near = nearest(key, keys);
  fail("config key '" + key + "' (" + origin + ")", "unknown",
       near.empty() ? "`lacuna info METHOD` lists every key" : "did you mean '" + near + "'?");
}

void ConfigTable::set(const std::string& key, const Json& value, const std::string& origin) {
  field(key, origin).set(value);
  set_.insert(key);
}

void ConfigTable::set_text(const std::string& key, const std::string& text, const std::string& origin) {
  Field& target = field(key, origin);
  const bool is_string = std::holds_alternative<std::string*>(target.value);
  if (is_string && (text.empty() || text.front() != '"')) {
    set(key, text, origin);
    return;
  }
  try {
    set(key, toml_to_json(*toml::parse("value = " + text).get("value")), origin);
  } catch (const toml::parse_error&) {
    set(key, text, origin);  // an unquoted word; the field says what it expected
  }
}

void ConfigTable::set_assignment(const std::string& assignment, const std::string& origin) {
  const auto equals = assignment.find('=');
  if (equals == std::string::npos)
    fail("'" + assignment + "' (" + origin + ")", "not of the form key=value",
         "write e.g. --set train.epochs=20");
  set_text(assignment.substr(0, equals), assignment.substr(equals + 1), origin);
}

void ConfigTable::merge(const Json& document, const std::string& origin) {
  for (const auto& [key, value] : leaves(document)) set(key, value, origin);
}

void ConfigTable::set_default(const std::string& key, const std::string& text) {
  const bool chosen = is_set(key);
  set_text(key, text, "the method's defaults");
  if (!chosen) set_.erase(key);
  defaults_[key] = get(key);
}

bool ConfigTable::has(const std::string& key) const {
  return std::any_of(fields_.begin(), fields_.end(), [&](const Field& field) { return field.key == key; });
}

Json ConfigTable::get(const std::string& key) const {
  for (const auto& field : fields_)
    if (field.key == key) return field.get();
  fail("config key '" + key + "'", "unknown", "`lacuna info METHOD` lists every key");
}

Json ConfigTable::to_json() const {
  Json out = Json::object();
  for (const auto& field : fields_) {
    std::string pointer = "/" + field.key;
    std::replace(pointer.begin(), pointer.end(), '.', '/');
    out[Json::json_pointer(pointer)] = field.get();
  }
  return out;
}

std::string ConfigTable::to_toml() const {
  std::ostringstream top, tables;
  std::map<std::string, std::string> body;
  std::vector<std::string> order;
  for (const auto& field : fields_) {
    const auto dot = field.key.rfind('.');
    const std::string table = dot == std::string::npos ? "" : field.key.substr(0, dot);
    if (!body.count(table)) order.push_back(table);
    body[table] += str(field.key.substr(dot + 1), " = ", toml_value(field.get()), "  # ", field.help, "\n");
  }
  for (const auto& table : order)
    if (table.empty())
      top << body[table];
    else
      tables << "\n[" << table << "]\n" << body[table];
  return top.str() + tables.str();
}

Json parse_toml(const std::string& text, const std::string& origin) {
  try {
    return toml_to_json(toml::parse(text, origin));
  } catch (const toml::parse_error& error) {
    fail(origin,
         str("not valid TOML at line ", error.source().begin.line, ", column ", error.source().begin.column,
             ": ", error.description()),
         "mend that line");
  }
}

Json read_toml(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) fail(path, "can't be read", "check the path and its permissions");
  return parse_toml(text.str(), path);
}

std::vector<std::pair<std::string, Json>> leaves(const Json& document) {
  std::vector<std::pair<std::string, Json>> out;
  collect_leaves(document, "", out);
  return out;
}

}  // namespace lacuna
