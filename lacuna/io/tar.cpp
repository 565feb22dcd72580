#include "lacuna/io/tar.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "lacuna/core/error.h"

namespace lacuna::io {

namespace {

constexpr size_t kBlock = 512;

/// A field of a POSIX header block (IEEE 1003.1, pax, "ustar Interchange Format").
struct FieldAt {
  size_t offset, length;
};
constexpr FieldAt kName{0, 100}, kSize{124, 12}, kChecksum{148, 8}, kMagic{257, 6}, kPrefix{345, 155};
constexpr size_t kTypeOffset = 156;

/// Members are told by the blocks' order: long names and pax records speak of the member that follows them.
class Indexer {
 public:
  Indexer(std::string_view archive, const fs::path& path) : archive_(archive), file_(path.string()) {}

  std::vector<TarMember> members() {
    std::vector<TarMember> out;
    while (position_ < archive_.size()) {
      if (archive_.size() - position_ < kBlock) broken(position_, "the archive is cut short");
      const std::string_view header = archive_.substr(position_, kBlock);
      if (header.find_first_not_of('\0') == std::string_view::npos) break;
      check_sum(header);
      read_member(header, out);
    }
    return out;
  }

 private:
  [[noreturn]] void broken(size_t at, const std::string& why) const {
    fail(file_, str("broken tar at byte ", at, ": ", why), "fetch or make the archive again");
  }

  static std::string_view text(std::string_view header, FieldAt field) {
    const std::string_view whole = header.substr(field.offset, field.length);
    return whole.substr(0, whole.find('\0'));
  }

  // Octal digits, or GNU's big-endian binary behind a set top bit.
  size_t number(std::string_view header, FieldAt field, const char* what) const {
    std::string_view digits = header.substr(field.offset, field.length);
    size_t value = 0;
    if (static_cast<unsigned char>(digits.front()) == 0x80) {
      for (const char c : digits.substr(1)) {
        if (value >> 55 != 0) broken(position_, str("a ", what, " too large to be true"));
        value = value << 8 | static_cast<unsigned char>(c);
      }
      return value;
    }
    digits.remove_prefix(std::min(digits.find_first_not_of(' '), digits.size()));
    digits = digits.substr(0, digits.find_first_of(std::string_view(" \0", 2)));
    return parsed(digits, 8, what);
  }

  size_t parsed(std::string_view digits, int base, const char* what) const {
    size_t value = 0;
    const char* end = digits.data() + digits.size();
    const auto [stop, error] = std::from_chars(digits.data(), end, value, base);
    if (error != std::errc() || stop != end) broken(position_, str("a ", what, " that is no number"));
    return value;
  }

  void check_sum(std::string_view header) const {
    size_t sum = 0;
    for (size_t i = 0; i < kBlock; ++i) {
      const bool own = i >= kChecksum.offset && i < kChecksum.offset + kChecksum.length;
      sum += own ? ' ' : static_cast<unsigned char>(header[i]);
    }
    if (sum != number(header, kChecksum, "checksum")) broken(position_, "a header's checksum is wrong");
  }

  void read_member(std::string_view header, std::vector<TarMember>& out) {
    const char type = header[kTypeOffset];
    const bool has_content = type < '1' || type > '6';  // links, devices and folders have none
    const bool describes = type == 'L' || type == 'K' || type == 'x' || type == 'g';
    size_t size = has_content ? number(header, kSize, "size") : 0;
    if (has_content && !describes && next_size_ != kUnset) size = next_size_;
    const size_t begin = position_ + kBlock;
    if (size > archive_.size() - begin)
      broken(position_, str("a member of ", size, " bytes ends behind the end of the archive"));
    const std::string_view content = archive_.substr(begin, size);

    if (type == 'L') next_name_ = std::string(content.substr(0, content.find('\0')));
    if (type == 'x') read_pax(content);
    if (!describes) {
      if (type == '0' || type == '\0' || type == '7')
        out.push_back({next_name_.empty() ? name(header) : next_name_, begin, size});
      next_name_.clear();
      next_size_ = kUnset;
    }
    const size_t padded = (size + kBlock - 1) / kBlock * kBlock;  // the last member's padding may be missing
    position_ = begin + std::min(padded, archive_.size() - begin);
  }

  static std::string name(std::string_view header) {
    const bool posix = header.substr(kMagic.offset, kMagic.length) == std::string_view("ustar\0", 6);
    const std::string_view prefix = posix ? text(header, kPrefix) : std::string_view();
    return prefix.empty() ? std::string(text(header, kName)) : str(prefix, "/", text(header, kName));
  }

  // Records "LENGTH KEY=VALUE\n", LENGTH counting the whole record.
  void read_pax(std::string_view records) {
    while (!records.empty()) {
      const size_t blank = records.find(' ');
      if (blank == std::string_view::npos) broken(position_, "a pax record without a length");
      const size_t length = parsed(records.substr(0, blank), 10, "pax record length");
      if (length <= blank + 1 || length > records.size())
        broken(position_, "a pax record of an impossible length");
      const std::string_view record = records.substr(blank + 1, length - blank - 2);
      const size_t equals = record.find('=');
      if (equals == std::string_view::npos) broken(position_, "a pax record without a value");
      const std::string_view key = record.substr(0, equals), value = record.substr(equals + 1);
      if (key == "path") next_name_ = std::string(value);
      if (key == "size") next_size_ = parsed(value, 10, "pax size");
      records.remove_prefix(length);
    }
  }

  static constexpr size_t kUnset = SIZE_MAX;

  std::string_view archive_;
  std::string file_;
  size_t position_ = 0;
  std::string next_name_;
  size_t next_size_ = kUnset;
};

MappedFile open_archive(const fs::path& path) {
  MappedFile file(path);
  return is_gzip(file.bytes()) ? map_inflated(file.bytes(), path.string()) : file;
}

}  // namespace

TarFile::TarFile(const fs::path& path) : path_(path), file_(open_archive(path)) {
  const Bytes bytes = file_.bytes();
  members_ = Indexer({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path).members();
}

Bytes TarFile::content(const TarMember& member) const {
  return file_.bytes().subspan(member.offset, member.size);
}

}  // namespace lacuna::io
