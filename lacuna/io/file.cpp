#include "lacuna/io/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>

#include "lacuna/core/error.h"
#include "lacuna/io/compressed.h"
#include "lacuna/io/leftovers.h"

namespace lacuna::io {

namespace {

std::string remedy_of(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return "free some space or choose another place";
    case EROFS:
    case EACCES:
    case EPERM:
      return "check its permissions or choose another place";
    case ENOENT:
      return "check the path";
    case EMFILE:
    case ENFILE:
      return "raise the limit of open files (ulimit -n)";
    default:
      return "check the path and the disk";
  }
}

[[noreturn]] void fail_errno(const fs::path& path, const std::string& what, int error = errno) {
  fail(path.string(), str(what, ": ", std::strerror(error)), remedy_of(error));
}

/// A file descriptor that is closed when it goes.
class Descriptor {
 public:
  Descriptor(const fs::path& path, int flags, mode_t mode = 0)
      : value_(::open(path.c_str(), flags | O_CLOEXEC, mode)) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  bool ok() const { return value_ >= 0; }
  int get() const { return value_; }

 private:
  int value_;
};

void sync_path(const fs::path& path, int flags = O_RDONLY) {
  const Descriptor descriptor(path, flags);
  // Some file systems (FUSE, network) can't sync a folder and say EINVAL; there the rename is all there is.
  if (!descriptor.ok() || (::fsync(descriptor.get()) != 0 && errno != EINVAL))
    fail_errno(path, "can't be synced");
}

fs::path folder_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

/// ".<name>.tmp<pid>" beside `path`.
fs::path temporary_beside(const fs::path& path) {
  return folder_of(path) / str(".", path.filename().string(), ".tmp", ::getpid());
}

fs::path without_trailing_slash(const fs::path& path) {
  return path.has_filename() ? path : path.parent_path();
}

/// Removes what it names unless it was let go: nothing half-written stays behind.
class Cleanup {
 public:
  explicit Cleanup(fs::path path) : path_(std::move(path)) {}
  ~Cleanup() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  Cleanup(const Cleanup&) = delete;
  Cleanup& operator=(const Cleanup&) = delete;
  void release() { path_.clear(); }

 private:
  fs::path path_;
};

void write_fully(int descriptor, Bytes bytes, const fs::path& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_errno(path, "can't be written");
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

}  // namespace

// --- reading ---------------------------------------------------------------------------------------------

struct MappedFile::Map {
  fs::path path;
  void* data = nullptr;
  size_t size = 0;
  ~Map() {
    if (data != nullptr) ::munmap(data, size);
  }
};

MappedFile::MappedFile(const fs::path& path) : map_(std::make_shared<Map>()) {
  map_->path = path;
  const Descriptor descriptor(path, O_RDONLY);
  struct stat status {};
  if (!descriptor.ok() || ::fstat(descriptor.get(), &status) != 0) fail_errno(path, "can't be read");
  if (S_ISDIR(status.st_mode)) fail(path.string(), "is a folder, not a file", "name a file");
  if (!S_ISREG(status.st_mode)) fail(path.string(), "is not a regular file", "name a file on disk");
  map_->size = static_cast<size_t>(status.st_size);
  if (map_->size == 0) return;  // an empty mapping is not allowed
  void* data = ::mmap(nullptr, map_->size, PROT_READ, MAP_PRIVATE, descriptor.get(), 0);
  if (data == MAP_FAILED) fail_errno(path, "can't be mapped into memory");
  map_->data = data;
}

Bytes MappedFile::bytes() const { return {static_cast<const std::byte*>(map_->data), map_->size}; }

const fs::path& MappedFile::path() const { return map_->path; }

std::string read_file(const fs::path& path) {
  const MappedFile file(path);
  const Bytes bytes = file.bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// --- writing ---------------------------------------------------------------------------------------------

void write_atomically(const fs::path& path,
                      const std::function<void(const std::function<void(Bytes)>&)>& write) {
  const fs::path temporary = temporary_beside(path);
  Cleanup cleanup(temporary);
  {
    const Descriptor descriptor(temporary, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (!descriptor.ok()) fail_errno(path, "can't be written");
    write([&](Bytes bytes) { write_fully(descriptor.get(), bytes, path); });
    if (::fsync(descriptor.get()) != 0) fail_errno(path, "can't be synced");
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) fail_errno(path, "can't be written");
  cleanup.release();
  sync_path(folder_of(path), O_RDONLY | O_DIRECTORY);
}

void remove_leftovers(const fs::path& path) {
  const std::string prefix = "." + path.filename().string() + ".tmp";
  std::error_code error;
  std::vector<fs::path> leftovers;
  for (const auto& entry : fs::directory_iterator(folder_of(path), error))
    if (entry.path().filename().string().starts_with(prefix)) leftovers.push_back(entry.path());
  for (const auto& leftover : leftovers) fs::remove_all(leftover, error);
}

void write_atomically(const fs::path& path, std::string_view content) {
  write_atomically(path, [&](const auto& sink) { sink(std::as_bytes(std::span(content))); });
}

void write_folder_atomically(const fs::path& given, const std::function<void(const fs::path&)>& fill) {
  const fs::path path = without_trailing_slash(given);
  remove_leftovers(path);
  const fs::path temporary = temporary_beside(path);
  Cleanup cleanup(temporary);
  if (::mkdir(temporary.c_str(), 0755) != 0) fail_errno(path, "can't be made");
  fill(temporary);
  for (const auto& entry : fs::recursive_directory_iterator(temporary))
    if (entry.is_regular_file() || entry.is_directory()) sync_path(entry.path());
  sync_path(temporary, O_RDONLY | O_DIRECTORY);
  // rename() replaces only an empty folder: an older one steps aside first.
  const fs::path aside = folder_of(path) / str(".", path.filename().string(), ".tmp-old", ::getpid());
  const bool replaces = fs::exists(path);
  if (replaces && ::rename(path.c_str(), aside.c_str()) != 0) fail_errno(path, "can't be replaced");
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    const int error = errno;
    if (replaces) ::rename(aside.c_str(), path.c_str());
    fail_errno(path, "can't be made", error);
  }
  cleanup.release();
  sync_path(folder_of(path), O_RDONLY | O_DIRECTORY);
  std::error_code ignored;
  if (replaces) fs::remove_all(aside, ignored);
}

void make_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) fail_errno(path, "can't be made", error.value());
  if (!fs::is_directory(path, error)) fail(path.string(), "is not a folder", "choose another place");
  if (::access(path.c_str(), W_OK | X_OK) != 0) fail_errno(path, "can't be written to");
}

FolderLock::FolderLock(const fs::path& folder) {
  const fs::path path = folder / ".lock";
  descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail_errno(path, "can't be opened");
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    std::array<char, 32> holder{};
    const ssize_t length = ::pread(descriptor_, holder.data(), holder.size() - 1, 0);
    ::close(descriptor_);
    if (error != EWOULDBLOCK) fail_errno(path, "can't be locked", error);
    fail(folder.string(), str("in use by process ", length > 0 ? holder.data() : "(unknown)"),
         "wait for it to end, or choose another folder");
  }
  // The number is only for the error above; the lock itself is the kernel's and ends with the process.
  const std::string pid = std::to_string(::getpid());
  if (::ftruncate(descriptor_, 0) != 0 ||
      ::pwrite(descriptor_, pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    const int error = errno;
    ::close(descriptor_);
    fail_errno(path, "can't be written", error);
  }
}

FolderLock::~FolderLock() { ::close(descriptor_); }

// --- compression and text --------------------------------------------------------------------------------

bool is_gzip(Bytes bytes) {
  return bytes.size() >= 2 && bytes[0] == std::byte{0x1f} && bytes[1] == std::byte{0x8b};
}

namespace {

/// Inflates piece by piece; `sink` gets at most kChunk bytes at a time.
void inflate_pieces(Bytes compressed, const std::string& name, size_t limit,
                    const std::function<void(Bytes)>& sink) {
  constexpr int kDetectHeader = 32 + MAX_WBITS;  // gzip or zlib
  constexpr size_t kChunk = size_t{1} << 20;
  z_stream stream{};
  if (inflateInit2(&stream, kDetectHeader) != Z_OK) fail(name, "zlib can't start", "free some memory");
  const std::unique_ptr<z_stream, int (*)(z_stream*)> guard(&stream, inflateEnd);

  std::vector<std::byte> chunk(kChunk);
  size_t consumed = 0, total = 0;
  bool member_ended = false;
  while (!member_ended || is_gzip(compressed.subspan(consumed))) {
    if (member_ended && inflateReset(&stream) != Z_OK) fail(name, "zlib can't restart", "compress it again");
    const size_t available = std::min<size_t>(compressed.size() - consumed, std::numeric_limits<uInt>::max());
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(compressed.data() + consumed));
    stream.avail_in = static_cast<uInt>(available);
    stream.next_out = reinterpret_cast<Bytef*>(chunk.data());
    stream.avail_out = static_cast<uInt>(kChunk);
    const int status = inflate(&stream, Z_NO_FLUSH);
    const size_t produced = kChunk - stream.avail_out;
    consumed += available - stream.avail_in;
    total += produced;
    if (total > limit)
      fail(name, str("inflates to more than the limit of ", limit, " bytes"),
           "check that the file is what it should be");
    if (status == Z_BUF_ERROR || (status == Z_OK && consumed == compressed.size() && produced < kChunk))
      fail(name, "compressed data are cut short", "fetch the file again");
    if (status != Z_OK && status != Z_STREAM_END)
      fail(name, str("compressed data are broken (", stream.msg ? stream.msg : "bad stream", ")"),
           "fetch the file again");
    sink({chunk.data(), produced});
    member_ended = status == Z_STREAM_END;
  }
}

}  // namespace

std::string gunzip(Bytes compressed, const std::string& name, size_t limit) {
  std::string out;
  inflate_pieces(compressed, name, limit,
                 [&](Bytes piece) { out.append(reinterpret_cast<const char*>(piece.data()), piece.size()); });
  return out;
}

MappedFile map_pieces(const std::function<void(const std::function<void(Bytes)>&)>& write) {
  std::error_code error;
  const fs::path folder = fs::temp_directory_path(error);
  std::string path = ((error ? fs::path("/tmp") : folder) / "lacuna-XXXXXX").string();
  const int descriptor = ::mkostemp(path.data(), O_CLOEXEC);
  if (descriptor < 0) fail_errno(path, "can't be made");
  const Cleanup unlink_at_end(path);  // the mapping keeps the content alive
  const std::unique_ptr<const int, void (*)(const int*)> close_at_end(&descriptor,
                                                                      [](const int* d) { ::close(*d); });
  write([&](Bytes piece) { write_fully(descriptor, piece, path); });
  return MappedFile(path);
}

MappedFile map_inflated(Bytes compressed, const std::string& name, size_t limit) {
  return map_pieces(
      [&](const std::function<void(Bytes)>& sink) { inflate_pieces(compressed, name, limit, sink); });
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j)
      group = group << 8 | (j < count ? static_cast<unsigned char>(bytes[i + j]) : 0U);
    for (size_t j = 0; j < 4; ++j) out += j <= count ? kAlphabet[group >> (18 - 6 * j) & 63] : '=';
  }
  return out;
}

}  // namespace lacuna::io
