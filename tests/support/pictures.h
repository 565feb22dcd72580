#pragma once
// Folders and pictures for the data tests.

#include <ATen/ATen.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "lacuna/core/draws.h"
#include "lacuna/io/image.h"

namespace lacuna::testing {

/// A folder that is removed again.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "lacuna-test-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("can't make " + name);
    path_ = name;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// Writes a file, making its folder.
inline void write_file(const std::filesystem::path& path, const std::string& content) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << content;
}

/// [height, width, channels] uint8 noise, a function of `seed`.
inline at::Tensor noise(int64_t height, int64_t width, int64_t channels, uint64_t seed) {
  auto pixels = at::empty({height, width, channels}, at::kByte);
  Stream random(seed, "noise");
  for (int64_t i = 0; i < pixels.numel(); ++i)
    pixels.mutable_data_ptr<uint8_t>()[i] = static_cast<uint8_t>(random.below(256));
  return pixels;
}

inline std::string png(int64_t height, int64_t width, int64_t channels, uint64_t seed = 0) {
  return io::encode_png(noise(height, width, channels, seed));
}

/// One member of a ustar archive.
inline std::string tar_member(const std::string& name, const std::string& content) {
  std::string header(512, '\0');
  header.replace(0, name.size(), name);
  const auto put = [&](size_t at, const char* format, size_t value) {
    std::string text(32, '\0');
    text.resize(static_cast<size_t>(std::snprintf(text.data(), text.size(), format, value)));
    header.replace(at, text.size(), text);
  };
  put(100, "%07zo", 0644);
  put(124, "%011zo", content.size());
  header[156] = '0';
  header.replace(257, 8, std::string("ustar\00000", 8));
  header.replace(148, 8, 8, ' ');
  size_t sum = 0;
  for (const unsigned char byte : header) sum += byte;
  put(148, "%06zo", sum);
  header[154] = '\0';
  return header + content + std::string((512 - content.size() % 512) % 512, '\0');
}
inline std::string tar_end() { return std::string(1024, '\0'); }

}  // namespace lacuna::testing
