#pragma once
// Tar archives (ustar, GNU long names, pax paths and sizes), as an index over a mapped file.

#include <string>
#include <vector>

#include "lacuna/io/file.h"

namespace lacuna::io {

/// A regular file inside an archive.
struct TarMember {
  std::string name;
  size_t offset = 0, size = 0;  ///< bytes of the content within the (uncompressed) archive
};

/// Opens a .tar, or a .tar.gz that is inflated once into an unlinked temporary file, and indexes its members.
/// Error on a header whose checksum is wrong, a member that ends behind the file, or a size that is no
/// number.
class TarFile {
 public:
  explicit TarFile(const fs::path& path);
  const std::vector<TarMember>& members() const { return members_; }  ///< in the archive's order
  Bytes content(const TarMember& member) const;                       ///< lives as long as this
  const fs::path& path() const { return path_; }                      ///< as it was opened

 private:
  fs::path path_;
  MappedFile file_;
  std::vector<TarMember> members_;
};

}  // namespace lacuna::io
