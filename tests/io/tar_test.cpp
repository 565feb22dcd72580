#include "lacuna/io/tar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "tests/io/bytes.h"
#include "tests/support/pictures.h"

namespace lacuna::io {
namespace {

using lacuna::testing::TemporaryFolder;
using lacuna::testing::write_file;

/// A header block whose fields are as given, with the right checksum unless told otherwise, and padded
/// content.
std::string member(const std::string& name, const std::string& content, char type = '0',
                   std::string size = "", const std::string& prefix = "") {
  std::string header(512, '\0');
  if (size.empty()) {
    char octal[13];
    std::snprintf(octal, sizeof octal, "%011zo", content.size());
    size = octal;
  }
  header.replace(0, name.size(), name);
  header.replace(124, size.size(), size);
  header.replace(148, 8, 8, ' ');
  header[156] = type;
  header.replace(257, 5, "ustar");
  header.replace(345, prefix.size(), prefix);
  unsigned sum = 0;
  for (const unsigned char c : header) sum += c;
  char octal[8];
  std::snprintf(octal, sizeof octal, "%06o", sum);
  header.replace(148, 7, octal, 7);
  return header + content + std::string((512 - content.size() % 512) % 512, '\0');
}

const std::string kEnd(1024, '\0');

struct Tar : ::testing::Test {
  TemporaryFolder folder;
  fs::path path = folder / "a.tar";

  std::vector<std::pair<std::string, std::string>> read(const std::string& bytes) {
    fs::remove(path);  // rewriting a file in place makes ext4 flush it every time
    write_file(path, bytes);
    const TarFile tar(path);
    std::vector<std::pair<std::string, std::string>> out;
    for (const auto& each : tar.members()) {
      const Bytes content = tar.content(each);
      out.emplace_back(each.name, std::string(reinterpret_cast<const char*>(content.data()), content.size()));
    }
    return out;
  }

  std::string error_of(const std::string& bytes) {
    try {
      read(bytes);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
};

using Members = std::vector<std::pair<std::string, std::string>>;

TEST_F(Tar, ReadsPlainMembersFoldersAndPrefixes) {
  const std::string archive = member("a.txt", "hello") + member("dir/", "", '5') +
                              member("b.bin", std::string(1000, 'b'), '0', "", "long/prefix") +
                              member("e", "") + kEnd;
  const Members expected{{"a.txt", "hello"}, {"long/prefix/b.bin", std::string(1000, 'b')}, {"e", ""}};
  EXPECT_EQ(read(archive), expected);
  EXPECT_EQ(read(gzip(archive)), expected);
}

TEST_F(Tar, ReadsLongNames) {
  const std::string gnu(150, 'g');
  EXPECT_EQ(read(member("././@LongLink", gnu + std::string(1, '\0'), 'L') + member("g", "1") +
                 member("n", "2") + kEnd),
            (Members{{gnu, "1"}, {"n", "2"}}));
  EXPECT_EQ(read(member("pax", "16 path=a/b/cde\n", 'x') + member("short", "1") + kEnd),
            (Members{{"a/b/cde", "1"}}));
  EXPECT_EQ(read(member("pax", "10 size=3\n", 'x') + member("s", "123", '0', "00000000000") + kEnd),
            (Members{{"s", "123"}}));
}

TEST_F(Tar, HostileHeadersAreNamed) {
  using ::testing::HasSubstr;
  std::string damaged = member("a", "x");
  damaged[0] = 'b';
  EXPECT_THAT(error_of(damaged), HasSubstr("checksum is wrong"));
  EXPECT_THAT(error_of(member("a", "x", '0', "00000007777")), HasSubstr("ends behind the end"));
  EXPECT_THAT(error_of(member("a", "x", '0', "0000zzz0000")), HasSubstr("no number"));
  EXPECT_THAT(error_of(member("a", "x", '0', "\x80" + std::string(11, '\xff'))), HasSubstr("too large"));
  EXPECT_THAT(error_of(member("p", "999999 path=x\n", 'x')), HasSubstr("impossible length"));
  EXPECT_THAT(error_of(member("p", "path", 'x')), HasSubstr("without a length"));
  EXPECT_THAT(error_of(member("a", "x").substr(0, 300)), HasSubstr("cut short"));
  EXPECT_THAT(error_of(member("a", std::string(600, 'x')).substr(0, 700)), HasSubstr("ends behind the end"));
  EXPECT_THAT(error_of(gzip(member("a", "x")).substr(0, 40)), HasSubstr("cut short"));
}

TEST_F(Tar, MutatedBytesGiveAResultOrAnError) {
  const std::string good =
      member("p", "16 path=a/b/cde\n", 'x') + member("a", "hello") + member("b", "x") + kEnd;
  survive_mutations(good, 2000, [&](const std::string& bytes) { read(bytes); });
}

}  // namespace
}  // namespace lacuna::io
