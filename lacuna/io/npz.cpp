// NumPy's .npz: a zip archive (libzip) of .npy arrays.

#include <ATen/ATen.h>
#include <zip.h>

#include <bit>
#include <cstring>

#include "lacuna/core/error.h"
#include "lacuna/io/motion.h"
#include "lacuna/io/npy.h"

namespace lacuna::io {

namespace {

[[noreturn]] void broken(const std::string& name, const std::string& why) {
  fail(name, why, "the file is damaged or no npz archive: fetch or save it again");
}

struct CloseArchive {
  void operator()(zip_t* archive) const { zip_discard(archive); }
};
struct CloseFile {
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};

std::unique_ptr<zip_t, CloseArchive> open_archive(Bytes bytes, const std::string& name) {
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* source = zip_source_buffer_create(bytes.data(), bytes.size(), 0, &error);
  if (source == nullptr) broken(name, zip_error_strerror(&error));
  zip_t* archive = zip_open_from_source(source, ZIP_RDONLY, &error);
  if (archive == nullptr) {
    zip_source_free(source);
    broken(name, str("no zip archive (", zip_error_strerror(&error), ")"));
  }
  return std::unique_ptr<zip_t, CloseArchive>(archive);
}

std::string read_member(zip_t* archive, zip_uint64_t index, const std::string& member,
                        const MotionLimits& limits) {
  zip_stat_t info;
  if (zip_stat_index(archive, index, 0, &info) != 0 || (info.valid & ZIP_STAT_SIZE) == 0)
    broken(member, "its size is not known");
  if (info.size > static_cast<zip_uint64_t>(limits.max_values) * 8)
    fail(member, str("is ", info.size, " bytes long, the limit is ", limits.max_values * 8),
         "cut the recording into pieces");
  const std::unique_ptr<zip_file_t, CloseFile> file(zip_fopen_index(archive, index, 0));
  if (!file) broken(member, str("can't be opened (", zip_strerror(archive), ")"));
  std::string out(info.size, '\0');
  const zip_int64_t got = zip_fread(file.get(), out.data(), out.size());
  char rest = 0;  // libzip compares the checksum when it is asked for more than there is
  if (got != static_cast<zip_int64_t>(out.size()) || zip_fread(file.get(), &rest, 1) != 0)
    broken(member, "is cut short or its checksum is wrong");
  return out;
}

at::ScalarType type_of(const std::string& npy, const std::string& name) {
  if (npy == "'<f4'") return at::kFloat;
  if (npy == "'<f8'") return at::kDouble;
  if (npy == "'<i8'") return at::kLong;
  if (npy == "'<i4'") return at::kInt;
  if (npy == "'|u1'") return at::kByte;
  if (npy.starts_with("'|O"))
    fail(name, "holds pickled Python objects, which are never read",
         "save plain arrays: numpy.savez(path, **{\"S1/Walking\": positions})");
  fail(name, str("arrays of type ", npy, " are not read"), "save it as float32, float64, int32 or int64");
}

}  // namespace

at::Tensor read_npy(Bytes view, const std::string& name) {
  static_assert(std::endian::native == std::endian::little, "npy arrays are copied as they lie");
  const NpyHeader header = parse_npy_header(view, name);
  const auto type = type_of(header.type, name);
  int64_t count = 1;
  for (const int64_t size : header.shape)
    if (__builtin_mul_overflow(count, size, &count)) broken(name, "its shape is too large");
  const auto left = static_cast<int64_t>(view.size() - header.data_begin);
  const auto item = static_cast<int64_t>(at::elementSize(type));
  if (left % item != 0 || left / item != count)
    broken(name, str("the npy array needs ", count, " values, the file holds ", left / item));
  auto out = at::empty(header.shape, type);
  if (count > 0)
    std::memcpy(out.mutable_data_ptr(), view.data() + header.data_begin, static_cast<size_t>(left));
  return out;
}

std::map<std::string, at::Tensor> read_npz(Bytes bytes, const std::string& name, const MotionLimits& limits) {
  const auto archive = open_archive(bytes, name);
  std::map<std::string, at::Tensor> out;
  const zip_int64_t count = zip_get_num_entries(archive.get(), 0);
  for (zip_int64_t i = 0; i < count; ++i) {
    const char* title = zip_get_name(archive.get(), static_cast<zip_uint64_t>(i), ZIP_FL_ENC_RAW);
    if (title == nullptr) broken(name, "a member has no name");
    std::string member = title;
    if (!member.ends_with(".npy")) continue;
    member.resize(member.size() - 4);
    const std::string full = str(name, "#", member);
    const auto array = read_member(archive.get(), static_cast<zip_uint64_t>(i), full, limits);
    out[member] = read_npy(std::as_bytes(std::span(array)), full);
  }
  if (out.empty()) broken(name, "holds no array");
  return out;
}

}  // namespace lacuna::io
