#pragma once
// Files: memory-mapped reading, crash-safe writing.

#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace lacuna::io {

namespace fs = std::filesystem;
using Bytes = std::span<const std::byte>;  ///< a view; whoever gives it says how long it lives

/// A whole file mapped read-only. Shares ownership: views into bytes() live as long as one copy of it does.
/// Error when the path is missing, a directory, or can't be read.
class MappedFile {
 public:
  explicit MappedFile(const fs::path& path);
  Bytes bytes() const;           ///< the whole file
  const fs::path& path() const;  ///< as it was opened

 private:
  struct Map;
  std::shared_ptr<Map> map_;
};

std::string read_file(const fs::path& path);  ///< whole file; Error names the path

/// Writes beside `path`, syncs, renames over it, syncs the folder: after a crash the old content or the new
/// is there, never a part. Error on a full disk or a read-only folder; nothing half-written is left.
void write_atomically(const fs::path& path, std::string_view content);
/// The same with pieces written by `write(sink)`, so that large files need no copy in memory.
void write_atomically(const fs::path& path,
                      const std::function<void(const std::function<void(Bytes)>&)>& write);

/// Fills a folder beside `path` by `fill(folder)`, syncs every file in it and renames it to `path`. Nothing
/// is left when `fill` throws. Leftovers of a killed process (`.<name>.tmp*`) are removed first.
void write_folder_atomically(const fs::path& path, const std::function<void(const fs::path&)>& fill);

/// Makes folder and parents; Error when that can't be done or the folder can't be written to.
void make_folder(const fs::path& path);

/// An exclusive advisory lock (flock) held while it lives: two runs in one folder are refused.
/// Error naming the folder and the holder's process id when another process holds it.
class FolderLock {
 public:
  explicit FolderLock(const fs::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_ = -1;
};

/// Inflates gzip (several members too) or zlib data; Error when broken, cut short, or larger than `limit`
/// bytes.
std::string gunzip(Bytes compressed, const std::string& name, size_t limit = size_t{1} << 34);
/// The same into a temporary file that is gone when the last copy of the mapping is.
MappedFile map_inflated(Bytes compressed, const std::string& name, size_t limit = size_t{1} << 38);
bool is_gzip(Bytes bytes);  ///< by its first two bytes

std::string base64(std::string_view bytes);  ///< RFC 4648, padded

}  // namespace lacuna::io
