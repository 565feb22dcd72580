#include "lacuna/io/safetensors.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "lacuna/core/error.h"

namespace lacuna::io {

namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

constexpr size_t kLengthBytes = 8;
constexpr size_t kMaxHeader = 100'000'000;  // the reference implementation's limit
constexpr size_t kMaxDimensions = 64;       // what ATen's own kernels can hold
constexpr int kMaxNesting = 3;              // {tensor: {"shape": [size]}}; more would only exhaust the stack
constexpr const char* kMetadataKey = "__metadata__";

struct DType {
  const char* name;
  at::ScalarType type;
};
constexpr std::array<DType, 10> kDTypes{{{"F64", at::kDouble},
                                         {"F32", at::kFloat},
                                         {"F16", at::kHalf},
                                         {"BF16", at::kBFloat16},
                                         {"I64", at::kLong},
                                         {"I32", at::kInt},
                                         {"I16", at::kShort},
                                         {"I8", at::kChar},
                                         {"U8", at::kByte},
                                         {"BOOL", at::kBool}}};

std::string dtype_names() {
  std::vector<std::string> names;
  for (const auto& dtype : kDTypes) names.emplace_back(dtype.name);
  return join(names);
}

/// What a broken file is told by.
struct Reader {
  std::string file;

  [[noreturn]] void broken(const std::string& why) const {
    fail(file, "not a valid safetensors file: " + why, "fetch or write the file again");
  }
  [[noreturn]] void broken(const std::string& name, const std::string& why) const {
    broken("tensor '" + name + "' " + why);
  }

  size_t header_length(Bytes bytes) const {
    if (bytes.size() < kLengthBytes) broken(str("only ", bytes.size(), " bytes long"));
    uint64_t length = 0;
    for (size_t i = kLengthBytes; i-- > 0;) length = length << 8 | std::to_integer<uint64_t>(bytes[i]);
    if (length > kMaxHeader) broken(str("header length ", length, " is above the limit of ", kMaxHeader));
    if (length > bytes.size() - kLengthBytes)
      broken(str("header length ", length, " lies past the end of the file (", bytes.size(), " bytes)"));
    return length;
  }

  /// The header's object. JSON itself would silently keep the last of two equal names.
  Json parse(std::string_view text) const {
    std::vector<std::set<std::string>> keys;
    const auto refuse_duplicates = [&](int depth, Json::parse_event_t event, Json& parsed) {
      if (depth > kMaxNesting) broken("the header is nested too deeply");
      if (event == Json::parse_event_t::object_start) keys.emplace_back();
      if (event == Json::parse_event_t::object_end) keys.pop_back();
      if (event == Json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second)
        broken("name '" + parsed.get<std::string>() + "' stands twice in the header");
      return true;
    };
    try {
      Json header = Json::parse(text, refuse_duplicates);
      if (!header.is_object()) broken("the header is no JSON object");
      return header;
    } catch (const Json::exception& error) {
      broken(str("the header is not JSON (", error.what(), ")"));
    }
  }

  Metadata metadata(const Json& entry) const {
    if (!entry.is_object()) broken("__metadata__ is no object");
    Metadata out;
    for (const auto& [key, value] : entry.items()) {
      if (!value.is_string()) broken("__metadata__ '" + key + "' is no string");
      out[key] = value.get<std::string>();
    }
    return out;
  }

  const Json& field(const Json& entry, const std::string& name, const char* key) const {
    if (!entry.is_object() || !entry.contains(key)) broken(name, str("has no ", key));
    return entry.at(key);
  }

  at::ScalarType dtype(const Json& value, const std::string& name) const {
    const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    for (const auto& dtype : kDTypes)
      if (text == dtype.name) return dtype.type;
    fail(file, "tensor '" + name + "' has the unknown dtype " + text,
         "convert it to one of " + dtype_names());
  }

  std::vector<int64_t> shape(const Json& value, const std::string& name) const {
    if (!value.is_array() || value.size() > kMaxDimensions)
      broken(name, "has a shape that is no list of sizes");
    std::vector<int64_t> out;
    for (const auto& size : value) {
      if (!size.is_number_unsigned() || size.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))
        broken(name, "has a shape that is no list of sizes: " + value.dump());
      out.push_back(size.get<int64_t>());
    }
    return out;
  }

  size_t byte_count(const TensorInfo& info) const {
    size_t count = at::elementSize(info.type);
    size_t nonzero = count;  // strides are computed from the other dimensions even when one of them is zero
    for (const int64_t size : info.shape) {
      const auto factor = static_cast<size_t>(size);
      if (__builtin_mul_overflow(nonzero, std::max<size_t>(factor, 1), &nonzero) ||
          nonzero > static_cast<size_t>(INT64_MAX))
        broken(info.name, str("has a shape too large to be true: ", at::IntArrayRef(info.shape)));
      count *= factor;
    }
    return count;
  }

  TensorInfo tensor(const std::string& name, const Json& entry, size_t data_size) const {
    TensorInfo info;
    info.name = name;
    info.type = dtype(field(entry, name, "dtype"), name);
    info.shape = shape(field(entry, name, "shape"), name);
    const Json& offsets = field(entry, name, "data_offsets");
    if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
        !offsets[1].is_number_unsigned())
      broken(name, "has data_offsets that are not two numbers");
    info.begin = offsets[0].get<size_t>();
    info.end = offsets[1].get<size_t>();
    if (info.begin > info.end || info.end > data_size)
      broken(name, str("has data_offsets [", info.begin, ", ", info.end, "] outside the ", data_size,
                       " bytes of data"));
    const size_t expected = byte_count(info);
    if (info.end - info.begin != expected)
      broken(name, str("needs ", expected, " bytes by its shape and dtype, data_offsets give ",
                       info.end - info.begin));
    return info;
  }

  /// In order of offset every tensor begins where the one before ends, and the last ends with the file.
  void check_cover(std::vector<TensorInfo> infos, size_t data_size) const {
    std::sort(infos.begin(), infos.end(), [](const TensorInfo& a, const TensorInfo& b) {
      return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
    });
    size_t end = 0;
    for (const auto& info : infos) {
      if (info.begin < end) broken(info.name, "overlaps another tensor");
      if (info.begin > end) broken(info.name, str("leaves a hole of ", info.begin - end, " bytes before it"));
      end = info.end;
    }
    if (end != data_size) broken(str(data_size - end, " bytes at the end belong to no tensor"));
  }
};

Bytes bytes_of(const at::Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

const char* dtype_name(const at::Tensor& tensor, const std::string& name) {
  for (const auto& dtype : kDTypes)
    if (dtype.type == tensor.scalar_type()) return dtype.name;
  fail("tensor '" + name + "'", lacuna::str("safetensors has no dtype for ", tensor.scalar_type()),
       "convert it to one of " + dtype_names());
}

/// The header padded with blanks, so that the data begin at a multiple of 8.
std::string header_text(const OrderedJson& header, const fs::path& path) {
  try {
    std::string text = header.dump();
    text.resize((text.size() + kLengthBytes - 1) / kLengthBytes * kLengthBytes, ' ');
    return text;
  } catch (const Json::exception&) {
    fail(path.string(), "a tensor's name or a metadata value is not UTF-8", "rename it");
  }
}

}  // namespace

SafetensorsFile::SafetensorsFile(const fs::path& path) : file_(path) {
  const Reader reader{path.string()};
  const Bytes bytes = file_.bytes();
  const size_t length = reader.header_length(bytes);
  data_begin_ = kLengthBytes + length;
  const size_t data_size = bytes.size() - data_begin_;
  const Json header = reader.parse({reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, length});
  for (const auto& [name, entry] : header.items()) {
    if (name == kMetadataKey)
      metadata_ = reader.metadata(entry);
    else
      infos_.push_back(reader.tensor(name, entry, data_size));
  }
  reader.check_cover(infos_, data_size);
}

bool SafetensorsFile::has(const std::string& name) const {
  return std::any_of(infos_.begin(), infos_.end(), [&](const TensorInfo& info) { return info.name == name; });
}

at::Tensor SafetensorsFile::tensor(const std::string& name) const {
  const auto info =
      std::find_if(infos_.begin(), infos_.end(), [&](const TensorInfo& each) { return each.name == name; });
  if (info == infos_.end()) {
    std::vector<std::string> names;
    for (const auto& each : infos_) names.push_back(each.name);
    const std::string near = nearest(name, names);
    fail(file_.path().string(), "no tensor '" + name + "'",
         near.empty() ? str("`lacuna inspect` lists its ", names.size(), " tensors")
                      : "did you mean '" + near + "'?");
  }
  const Bytes data = file_.bytes().subspan(data_begin_ + info->begin, info->end - info->begin);
  if (info->type == at::kBool &&
      std::any_of(data.begin(), data.end(), [](std::byte b) { return b > std::byte{1}; }))
    Reader{file_.path().string()}.broken(name, "holds booleans other than 0 and 1");
  auto out = at::empty(info->shape, info->type);
  if (!data.empty()) std::memcpy(out.mutable_data_ptr(), data.data(), data.size());
  return out;
}

Tensors SafetensorsFile::tensors() const {
  Tensors out;
  for (const auto& info : infos_) out.emplace(info.name, tensor(info.name));
  return out;
}

Tensors load_safetensors(const fs::path& path) { return SafetensorsFile(path).tensors(); }

void save_safetensors(const fs::path& path, const Tensors& tensors, const Metadata& metadata) {
  // Widest elements first, so that every tensor lies aligned in the file; names order the rest.
  std::vector<const Tensors::value_type*> order;
  for (const auto& entry : tensors) order.push_back(&entry);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return a->second.element_size() > b->second.element_size();
  });
  OrderedJson header = OrderedJson::object();
  if (!metadata.empty()) header[kMetadataKey] = metadata;
  size_t end = 0;
  for (const auto* entry : order) {
    const auto& [name, tensor] = *entry;
    const size_t begin = end;
    end += tensor.nbytes();
    header[name] = {
        {"dtype", dtype_name(tensor, name)}, {"shape", tensor.sizes().vec()}, {"data_offsets", {begin, end}}};
  }
  std::string text = header_text(header, path);
  std::array<std::byte, kLengthBytes> length{};
  for (size_t i = 0; i < kLengthBytes; ++i) length[i] = static_cast<std::byte>(text.size() >> (8 * i) & 0xff);
  write_atomically(path, [&](const auto& sink) {
    sink(length);
    sink(std::as_bytes(std::span(text)));
    for (const auto* entry : order) sink(bytes_of(entry->second.detach().cpu().contiguous()));
  });
}

}  // namespace lacuna::io
