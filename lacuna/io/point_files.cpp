#include "lacuna/io/point_files.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <map>

#include "lacuna/core/error.h"
#include "lacuna/io/motion_text.h"
#include "lacuna/io/npy.h"

namespace lacuna::io {

namespace {

void check_size(const std::string& name, int64_t points, int64_t fields, const PointLimits& limits) {
  if (fields < 3) fail(name, str("a point has ", fields, " numbers"), "store x, y and z at least");
  if (fields > limits.max_fields)
    fail(name, str("a point has ", fields, " numbers, ", limits.max_fields, " at most are read"),
         "leave some out");
  if (points > limits.max_points)
    fail(name, str("holds ", points, " points, ", limits.max_points, " at most are read"),
         "cut the cloud into tiles");
}

/// NaN and infinity are numbers here.
float number_of(const std::string& word, const std::string& name) {
  double value = 0;
  const char* begin = word.data() + (word.starts_with('+') ? 1 : 0);
  const auto [end, error] = std::from_chars(begin, word.data() + word.size(), value);
  if ((error != std::errc() && error != std::errc::result_out_of_range) || end != word.data() + word.size())
    fail(name, str("'", word.substr(0, 40), "' stands where a number should"), "repair the file");
  return static_cast<float>(value);
}

std::string_view text_of(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

}  // namespace

std::vector<std::string> unnamed_fields(int64_t count) {
  std::vector<std::string> out{"x", "y", "z", "intensity", "time"};
  for (int64_t i = 5; i < count; ++i) out.push_back(str("f", i));
  out.resize(static_cast<size_t>(std::max<int64_t>(count, 3)));
  return out;
}

Points read_point_rows(Bytes bytes, const std::string& name, const std::vector<std::string>& fields,
                       const PointLimits& limits) {
  const size_t row = fields.size() * sizeof(float);
  if (bytes.size() % row != 0)
    fail(name, str("has ", bytes.size(), " bytes, no multiple of the ", row, " of a point"),
         str("it is cut short, or a point has other than ", fields.size(), " numbers: give ?fields=N"));
  check_size(name, static_cast<int64_t>(bytes.size() / row), std::ssize(fields), limits);
  Points out{.fields = fields};
  out.values.resize(bytes.size() / sizeof(float));
  if (!bytes.empty()) std::memcpy(out.values.data(), bytes.data(), bytes.size());
  return out;
}

Points read_point_npy(Bytes bytes, const std::string& name, const PointLimits& limits) {
  if (!is_npy(bytes)) fail(name, "is no npy array", "save it with numpy.save");
  const auto header = parse_npy_header(bytes, name);
  if (header.shape.size() != 2)
    fail(name, str("the array has ", header.shape.size(), " dimensions"), "store [points, numbers]");
  check_size(name, header.shape[0], header.shape[1], limits);
  const auto array = read_npy(bytes, name).to(at::kFloat).contiguous();
  Points out{.fields = unnamed_fields(array.size(1))};
  out.values.assign(array.const_data_ptr<float>(), array.const_data_ptr<float>() + array.numel());
  return out;
}

Points read_off(Bytes bytes, const std::string& name, const PointLimits& limits) {
  // Comments run from # to the end of the line.
  std::string text(text_of(bytes));
  for (size_t at = text.find('#'); at != std::string::npos; at = text.find('#', at))
    while (at < text.size() && text[at] != '\n') text[at++] = ' ';
  const size_t digit = text.find("OFF") + 3;
  if (text.starts_with("OFF") && digit < text.size() &&
      std::isdigit(static_cast<unsigned char>(text[digit])) != 0)
    text.insert(digit, 1, ' ');  // "OFF490 518 0", as ModelNet has it
  Words words(text, name);
  const auto magic = words.word();
  if (magic != "OFF" && magic != "COFF") fail(name, "does not begin with OFF", "it is no OFF mesh");
  const int64_t count = words.integer();
  for (const char* what : {"faces", "edges"})
    if (words.integer() < 0) fail(name, str("has a negative number of ", what), "repair the file");
  Points out;
  if (magic == "COFF")
    for (const char* field : {"r", "g", "b", "a"}) out.fields.emplace_back(field);
  if (count < 0) fail(name, str("has ", count, " vertices"), "repair the file");
  check_size(name, count, std::ssize(out.fields), limits);
  for (int64_t i = 0; i < count * std::ssize(out.fields); ++i)
    out.values.push_back(number_of(words.word(), name));
  return out;
}

Points read_points(Bytes bytes, const std::string& name, const PointLimits& limits) {
  if (name.ends_with(".pcd.bin"))
    return read_point_rows(bytes, name, {"x", "y", "z", "intensity", "ring"}, limits);
  if (name.ends_with(".bin")) return read_point_rows(bytes, name, unnamed_fields(4), limits);
  if (name.ends_with(".ply")) return read_ply(bytes, name, limits);
  if (name.ends_with(".npy")) return read_point_npy(bytes, name, limits);
  if (name.ends_with(".off")) return read_off(bytes, name, limits);
  fail(name, "is no file of points that is known by its ending", "use bin, pcd.bin, ply, npy, npz or off");
}

namespace {

struct PlyType {
  size_t bytes;
  char kind;  ///< i, u, f
};

PlyType ply_type(const std::string& word, const std::string& name) {
  static const std::map<std::string, PlyType> kTypes = {
      {"char", {1, 'i'}},  {"int8", {1, 'i'}},    {"uchar", {1, 'u'}},  {"uint8", {1, 'u'}},
      {"short", {2, 'i'}}, {"int16", {2, 'i'}},   {"ushort", {2, 'u'}}, {"uint16", {2, 'u'}},
      {"int", {4, 'i'}},   {"int32", {4, 'i'}},   {"uint", {4, 'u'}},   {"uint32", {4, 'u'}},
      {"float", {4, 'f'}}, {"float32", {4, 'f'}}, {"double", {8, 'f'}}, {"float64", {8, 'f'}}};
  const auto found = kTypes.find(word);
  if (found == kTypes.end())
    fail(name, str("has a property of type '", word.substr(0, 40), "'"), "repair the header");
  return found->second;
}

struct PlyProperty {
  std::string name;
  PlyType type{};
  bool list = false;
  PlyType count{};  ///< of a list
};

struct PlyElement {
  std::string name;
  int64_t count = 0;
  std::vector<PlyProperty> properties;
};

struct PlyHeader {
  bool ascii = false, big = false;
  std::vector<PlyElement> elements;
  size_t data_begin = 0;
};

PlyHeader parse_header(std::string_view text, const std::string& name) {
  constexpr size_t kLongest = 1 << 16;
  PlyHeader out;
  const auto head = text.substr(0, kLongest);
  const size_t end = head.find("end_header");
  const size_t line = end == std::string_view::npos ? end : head.find('\n', end);
  if (!head.starts_with("ply") || line == std::string_view::npos)
    fail(name, "has no PLY header", "it is no PLY file, or cut short");
  out.data_begin = line + 1;
  Words words(text.substr(3, end - 3), name);
  bool formatted = false;
  while (!words.done()) {
    const auto word = words.word();
    if (word == "comment" || word == "obj_info") {
      words.line();
    } else if (word == "format") {
      const auto format = words.word();
      out.ascii = format == "ascii", out.big = format == "binary_big_endian";
      if (!out.ascii && !out.big && format != "binary_little_endian")
        fail(name, str("has format '", format.substr(0, 40), "'"), "save it as ascii or binary");
      words.word();  // version
      formatted = true;
    } else if (word == "element") {
      out.elements.push_back({words.word(), words.integer(), {}});
      if (out.elements.back().count < 0)
        fail(name, "has an element with a negative count", "repair the header");
    } else if (word == "property") {
      if (out.elements.empty()) fail(name, "has a property before the first element", "repair the header");
      PlyProperty property;
      auto type = words.word();
      if (type == "list") {
        property.list = true;
        property.count = ply_type(words.word(), name);
        type = words.word();
      }
      property.type = ply_type(type, name);
      property.name = words.word();
      out.elements.back().properties.push_back(property);
    } else {
      fail(name, str("the header holds '", word.substr(0, 40), "'"), "repair the header");
    }
  }
  if (!formatted) fail(name, "the header names no format", "repair the header");
  return out;
}

/// Numbers behind the header, one after the other.
class PlyBody {
 public:
  PlyBody(Bytes bytes, const PlyHeader& header, const std::string& name)
      : ascii_(header.ascii),
        big_(header.big),
        name_(name),
        rest_(bytes.subspan(header.data_begin)),
        words_(text_of(rest_), name) {}

  double next(const PlyType& type) {
    if (ascii_) return number_of(words_.word(), name_);
    if (rest_.size() < type.bytes) fail(name_, "ends too early", "the file is cut short: fetch it again");
    std::array<std::byte, 8> raw{};
    for (size_t i = 0; i < type.bytes; ++i) raw[i] = rest_[big_ ? type.bytes - 1 - i : i];
    rest_ = rest_.subspan(type.bytes);
    return value_of(raw, type);
  }

  /// At least this much must be there for `count` rows of `bytes`: before memory is taken for them.
  void require(int64_t count, size_t bytes) const {
    const size_t least = ascii_ ? 2 : std::max<size_t>(1, bytes);  // a digit and a blank
    if (static_cast<size_t>(count) > rest_.size() / least + 1)
      fail(name_, str("says that it holds ", count, " points, but ends too early"),
           "the file is cut short: fetch it again");
  }

 private:
  template <class T>
  static double as(const std::array<std::byte, 8>& raw) {
    T value;
    std::memcpy(&value, raw.data(), sizeof(T));
    return static_cast<double>(value);
  }

  static double value_of(const std::array<std::byte, 8>& raw, const PlyType& type) {
    const bool is_signed = type.kind == 'i';
    if (type.kind == 'f') return type.bytes == 4 ? as<float>(raw) : as<double>(raw);
    if (type.bytes == 1) return is_signed ? as<int8_t>(raw) : as<uint8_t>(raw);
    if (type.bytes == 2) return is_signed ? as<int16_t>(raw) : as<uint16_t>(raw);
    return is_signed ? as<int32_t>(raw) : as<uint32_t>(raw);
  }

  bool ascii_, big_;
  const std::string& name_;
  Bytes rest_;
  Words words_;
};

void skip_element(PlyBody& body, const PlyElement& element) {
  for (int64_t row = 0; row < element.count; ++row)
    for (const auto& property : element.properties) {
      const double count = property.list ? body.next(property.count) : 1;
      for (int64_t i = 0; i < static_cast<int64_t>(count); ++i) body.next(property.type);
    }
}

bool is_label(const std::string& property) { return property == "label" || property == "class"; }

constexpr size_t kNowhere = static_cast<size_t>(-1);

/// Column of each property of a vertex: x, y, z first, the others in their order; kNowhere: a label.
std::vector<size_t> vertex_columns(const PlyElement& vertex, const std::string& name, Points& out) {
  std::vector<size_t> columns;
  for (const auto& property : vertex.properties) {
    if (property.list) fail(name, str("a vertex has the list '", property.name, "'"), "leave it out");
    const auto axis = std::string("xyz").find(property.name);
    if (property.name.size() == 1 && axis != std::string::npos) {
      columns.push_back(axis);
    } else if (is_label(property.name)) {
      columns.push_back(kNowhere);
    } else {
      columns.push_back(out.fields.size());
      out.fields.push_back(property.name);
    }
  }
  for (size_t axis = 0; axis < 3; ++axis)
    if (std::count(columns.begin(), columns.end(), axis) != 1)
      fail(name, str("a vertex has no single ", out.fields[axis]), "store x, y and z");
  if (std::count(columns.begin(), columns.end(), kNowhere) > 1)
    fail(name, "a vertex has two labels", "leave one out");
  return columns;
}

void read_vertices(PlyBody& body, const PlyElement& vertex, const std::vector<size_t>& columns, Points& out) {
  const size_t F = out.fields.size();
  out.values.resize(static_cast<size_t>(vertex.count) * F);
  for (int64_t row = 0; row < vertex.count; ++row)
    for (size_t i = 0; i < columns.size(); ++i) {
      const double value = body.next(vertex.properties[i].type);
      if (columns[i] != kNowhere) {
        out.values[static_cast<size_t>(row) * F + columns[i]] = static_cast<float>(value);
      } else {
        constexpr double kLargest = 1e9;
        out.labels.push_back(value >= 0 && value <= kLargest ? static_cast<int32_t>(value) : -1);
      }
    }
}

}  // namespace

Points read_ply(Bytes bytes, const std::string& name, const PointLimits& limits) {
  const auto header = parse_header(text_of(bytes), name);
  PlyBody body(bytes, header, name);
  for (const auto& element : header.elements) {
    size_t row_bytes = 0;
    for (const auto& property : element.properties)
      row_bytes += property.list ? property.count.bytes : property.type.bytes;
    if (!element.properties.empty()) body.require(element.count, row_bytes);
    if (element.name != "vertex") {
      if (!element.properties.empty()) skip_element(body, element);
      continue;
    }
    Points out;
    const auto columns = vertex_columns(element, name, out);
    check_size(name, element.count, std::ssize(out.fields), limits);
    read_vertices(body, element, columns, out);
    return out;
  }
  fail(name, "has no element 'vertex'", "store the points as vertices");
}

}  // namespace lacuna::io
