#include "lacuna/io/tensorboard.h"

#include <gtest/gtest.h>

#include "tests/io/bytes.h"
#include "tests/support/pictures.h"

namespace lacuna::io {
namespace {

using namespace std::string_literals;

/// Payloads of a TFRecord file, without their wall time (9 bytes, which alone changes from run to run).
std::vector<std::string> events(const fs::path& folder) {
  const std::string bytes = read_file(fs::directory_iterator(folder)->path());
  std::vector<std::string> out;
  for (size_t at = 0; at < bytes.size();) {
    const auto length = static_cast<size_t>(static_cast<unsigned char>(bytes[at]));  // all shorter than 256
    out.push_back(bytes.substr(at + 12 + 9, length - 9));
    at += 12 + length + 4;
  }
  return out;
}

TEST(TensorBoard, BytesAreThoseOfTheProtocol) {
  const lacuna::testing::TemporaryFolder folder;
  EventWriter writer(folder.path());
  writer.scalar("loss", 0.5, 300);
  writer.image("p", "PNG", 2, 3, 1);
  writer.text("t", "hi", 1);
  writer.purge_from(4);
  writer.flush();
  // Length 24 and its masked CRC-32C: how every TensorBoard file begins.
  EXPECT_EQ(read_file(fs::directory_iterator(folder.path())->path()).substr(0, 12),
            "\x18\0\0\0\0\0\0\0\xa3\x7f\x4b\x22"s);
  const auto all = events(folder.path());
  ASSERT_EQ(all.size(), 5U);
  EXPECT_EQ(all[0],
            "\x1a\x0d"
            "brain.Event:2");
  EXPECT_EQ(all[1], "\x10\xac\x02\x2a\x0d\x0a\x0b\x0a\x04loss\x15\0\0\0\x3f"s);
  EXPECT_EQ(all[2], "\x10\x01\x2a\x12\x0a\x10\x0a\x01p\x22\x0b\x08\x02\x10\x03\x18\x03\x22\x03PNG"s);
  EXPECT_EQ(all[4], "\x10\x04\x3a\x02\x08\x01"s);
}

TEST(TensorBoard, UnwritableFolderIsAnError) { EXPECT_THROW(EventWriter("/no/such/folder"), Error); }

}  // namespace
}  // namespace lacuna::io
