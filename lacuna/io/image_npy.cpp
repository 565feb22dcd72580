#include <ATen/ATen.h>

#include <bit>
#include <cstring>

#include "lacuna/io/image_formats.h"
#include "lacuna/io/npy.h"

namespace lacuna::io {

namespace {

int bits_of(const NpyHeader& header, const std::string& name) {
  if (header.type == "'|u1'") return 8;
  if (header.type == "'<u2'") return 16;
  if (header.type == "'<f4'") return 32;
  fail(name, str("npy arrays of type ", header.type, " are not read"), "save it as uint8, uint16 or float32");
}

bool channels_first(const std::vector<int64_t>& shape) {
  return shape.size() == 3 && shape[0] < shape[1] && shape[0] < shape[2];
}

ImageInfo info_of(const NpyHeader& header, const std::string& name) {
  const auto& shape = header.shape;
  const int bits = bits_of(header, name);
  if (shape.size() == 2) return {"npy", shape[0], shape[1], 1, bits};
  if (shape.size() != 3)
    fail(name, str("an npy array of ", shape.size(), " dimensions"), "save it as [H,W], [H,W,C] or [C,H,W]");
  if (channels_first(shape)) return {"npy", shape[1], shape[2], shape[0], bits};
  return {"npy", shape[0], shape[1], shape[2], bits};
}

bool matches(Bytes bytes) { return is_npy(bytes); }

ImageInfo probe(Bytes bytes, const std::string& name) { return info_of(parse_npy_header(bytes, name), name); }

Image decode(Bytes bytes, const std::string& name, const ImageLimits& limits) {
  static_assert(std::endian::native == std::endian::little, "npy arrays are copied as they lie");
  const NpyHeader header = parse_npy_header(bytes, name);
  const ImageInfo info = info_of(header, name);
  check_limits(info, name, limits);
  const auto count = static_cast<size_t>(info.pixels() * info.channels);
  const size_t size = count * static_cast<size_t>(info.bits / 8);
  const Bytes data = bytes.subspan(header.data_begin);
  if (data.size() != size)
    broken_image(name, str("the npy array needs ", size, " bytes, the file holds ", data.size()));

  Image out;
  if (info.bits == 16) {
    std::vector<uint16_t> samples(count);  // the file's samples need not lie aligned
    std::memcpy(samples.data(), data.data(), size);
    out = image_from_uint16(samples.data(), info);
  } else {
    out = {at::empty({info.height, info.width, info.channels}, info.bits == 8 ? at::kByte : at::kFloat),
           info.bits == 8 ? 255.0F : 1.0F};
    std::memcpy(out.pixels.mutable_data_ptr(), data.data(), size);
  }
  if (channels_first(header.shape))
    out.pixels = out.pixels.view({info.channels, info.height, info.width}).permute({1, 2, 0}).contiguous();
  return out;
}

}  // namespace

const ImageFormat kNpyFormat{"npy", matches, probe, decode};

}  // namespace lacuna::io
