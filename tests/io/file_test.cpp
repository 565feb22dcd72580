#include "lacuna/io/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include <fstream>

#include "lacuna/core/error.h"
#include "tests/io/bytes.h"
#include "tests/support/pictures.h"

namespace lacuna::io {
namespace {

using lacuna::testing::TemporaryFolder;

size_t entries(const fs::path& folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

TEST(MappedFile, ReadsAndRefuses) {
  const TemporaryFolder folder;
  write_atomically(folder / "a", std::string_view("hello"));
  write_atomically(folder / "empty", std::string_view(""));
  EXPECT_EQ(read_file(folder / "a"), "hello");
  EXPECT_EQ(read_file(folder / "empty"), "");
  EXPECT_THROW(MappedFile(folder / "missing"), Error);
  EXPECT_THROW(MappedFile(folder.path()), Error);
}

TEST(WriteAtomically, ReplacesAndLeavesNothingBehindOnAnError) {
  const TemporaryFolder folder;
  write_atomically(folder / "a", std::string_view("old"));
  const auto broken = [](const std::function<void(Bytes)>& sink) {
    sink(as_bytes_of("half"));
    fail("source", "ends", "");
  };
  EXPECT_THROW(write_atomically(folder / "a", broken), Error);
  EXPECT_EQ(read_file(folder / "a"), "old");
  write_atomically(folder / "a", std::string_view("new"));
  EXPECT_EQ(read_file(folder / "a"), "new");
  EXPECT_EQ(entries(folder.path()), 1U);
  EXPECT_THROW(write_atomically(folder / "no/such/folder/a", std::string_view("x")), Error);
}

TEST(WriteFolder, IsWholeOrAbsent) {
  const TemporaryFolder folder;
  const auto fill = [](const char* text) {
    return [text](const fs::path& inside) { write_atomically(inside / "f", std::string_view(text)); };
  };
  write_folder_atomically(folder / "c", fill("1"));
  fs::create_directories(folder / ".c.tmp999");  // left by a killed process
  write_folder_atomically(folder / "c", fill("2"));
  EXPECT_EQ(read_file(folder / "c" / "f"), "2");
  EXPECT_THROW(write_folder_atomically(folder / "d", [](const fs::path&) { fail("a", "b", "c"); }), Error);
  EXPECT_EQ(entries(folder.path()), 1U);
}

TEST(FolderLock, RefusesASecondHolderAndNamesTheFirst) {
  const TemporaryFolder folder;
  {
    const FolderLock lock(folder.path());
    try {
      const FolderLock second(folder.path());
      FAIL() << "two holders";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), ::testing::HasSubstr("in use by process " + std::to_string(getpid())));
    }
  }
  const FolderLock again(folder.path());
}

TEST(Gunzip, ReadsSeveralMembersAndRefusesBrokenOnes) {
  const std::string text(100000, 'x'), packed = gzip(text);
  EXPECT_EQ(gunzip(as_bytes_of(packed), "a.gz"), text);
  EXPECT_EQ(gunzip(as_bytes_of(packed + gzip("tail")), "a.gz"), text + "tail");
  for (size_t length = 0; length < packed.size(); ++length)
    EXPECT_THROW(gunzip(as_bytes_of(packed.substr(0, length)), "a.gz"), Error) << length;
  EXPECT_THROW(gunzip(as_bytes_of(packed), "bomb.gz", 99999), Error);
  EXPECT_EQ(gunzip(as_bytes_of(packed), "fits.gz", 100000).size(), 100000U);
}

TEST(Base64, KnownAnswers) {  // RFC 4648, section 10
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foobar"), "Zm9vYmFy");
}

}  // namespace
}  // namespace lacuna::io
