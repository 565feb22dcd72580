#include "lacuna/data/packed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/inspect.h"
#include "lacuna/data/loader.h"
#include "lacuna/data/transform.h"
#include "lacuna/io/crc32c.h"
#include "tests/io/bytes.h"
#include "tests/support/pictures.h"

namespace lacuna::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::TemporaryFolder;
using testing::write_file;

std::string jpeg(int64_t height, int64_t width, uint64_t seed) {
  return io::encode_jpeg(testing::noise(height, width, 3, seed), 90);
}

/// train/ with two classes, JPEGs of several sizes and a PNG; val/ with one class.
void write_pictures(const TemporaryFolder& folder) {
  for (uint64_t i = 0; i < 6; ++i)
    write_file(folder / ("train/cat/" + std::to_string(i) + ".jpg"),
               jpeg(40 + static_cast<int64_t>(i), 50 - static_cast<int64_t>(3 * i), i));
  write_file(folder / "train/dog/a.png", testing::png(33, 47, 3, 9));
  write_file(folder / "train/dog/b.png", testing::png(20, 24, 1, 10));
  write_file(folder / "val/cat/v.jpg", jpeg(48, 36, 11));
}

std::string packed(const TemporaryFolder& folder, const PackOptions& options = {}) {
  const auto file = folder / "data.pack";
  pack((folder / "").string(), file, options);
  return file.string();
}

std::string error_of(const std::string& uri) {
  try {
    const auto set = open_dataset(uri);
    for (int64_t i = 0; i < set->size(); ++i) set->get(i);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Packed, KeepsPicturesLabelsKeysClassesAndSplits) {
  const TemporaryFolder folder;
  write_pictures(folder);
  const auto report = pack((folder / "").string(), folder / "data.pack", {});
  EXPECT_THAT(report.splits, ElementsAre(std::pair<std::string, int64_t>("train", 8),
                                         std::pair<std::string, int64_t>("val", 1)));
  EXPECT_EQ(report.file_bytes, static_cast<int64_t>(std::filesystem::file_size(folder / "data.pack")));
  EXPECT_GT(report.source_bytes, 0);
  const std::string file = (folder / "data.pack").string();
  EXPECT_EQ(parse_uri(file).scheme, "packed");  // a bare path
  for (const char* split : {"train", "val"}) {
    const std::string query = str("?split=", split);
    const auto source = open_dataset((folder / "").string() + query), copy = open_dataset(file + query);
    ASSERT_EQ(copy->size(), source->size());
    EXPECT_EQ(copy->classes(), source->classes());
    EXPECT_EQ(copy->uri(), "packed:" + file + query);
    for (int64_t i = 0; i < source->size(); ++i) {
      const Record expected = source->get(i), record = copy->get(i);
      EXPECT_EQ(record.key, expected.key);
      EXPECT_EQ(record.label, expected.label);
      EXPECT_EQ(copy->label(i), expected.label);
      EXPECT_TRUE(at::equal(decode_record(record).pixels, decode_record(expected).pixels));
    }
  }
  EXPECT_EQ(open_dataset(file)->size(), 8);
  EXPECT_EQ(open_test_split(file)->size(), 1);
  EXPECT_EQ(inspect_dataset(*open_dataset(file)).formats.at("pixels 8 bit"), 8);
}

TEST(Packed, GivesTheSourcesTrainingBatches) {
  const TemporaryFolder folder;
  write_pictures(folder);
  const std::string file = packed(folder);
  AugmentConfig augment;
  for (const double jitter : {0.0, 0.4}) {
    augment.color_jitter = jitter;
    const ImageTransform transform(augment, {24, 24}, 3, {{0.5, 0.4, 0.3}, {0.2, 0.25, 0.3}});
    LoaderConfig loading;
    loading.batch_size = 3;
    loading.seed = 5;
    Loader source(open_dataset((folder / "").string()), transform, loading);
    Loader copy(open_dataset(file), transform, loading);
    for (int i = 0; i < 7; ++i) {
      const Batch expected = source.next(), batch = copy.next();
      EXPECT_TRUE(at::equal(batch.image, expected.image)) << i;
      EXPECT_TRUE(at::equal(batch.label, expected.label));
      EXPECT_EQ(batch.key, expected.key);
    }
  }
}

TEST(Packed, KeepsFloats) {
  const TemporaryFolder folder;
  std::string npy = "\x93NUMPY\x01";
  npy += '\0';
  const std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, 5), }\n";
  npy += static_cast<char>(header.size());
  npy += '\0';
  npy += header;
  const auto floats = at::arange(30, at::kFloat).view({2, 3, 5}).contiguous();
  npy.append(reinterpret_cast<const char*>(floats.const_data_ptr<float>()), 120);
  write_file(folder / "in/a.npy", npy);
  pack((folder / "in").string(), folder / "out", {});
  const auto source = open_dataset((folder / "in").string())->get(0),
             copy = open_dataset((folder / "out").string())->get(0);
  const auto expected = decode_record(source), image = decode_record(copy);
  EXPECT_EQ(image.pixels.scalar_type(), at::kFloat);
  EXPECT_EQ(image.peak, expected.peak);
  EXPECT_TRUE(at::equal(image.pixels, expected.pixels));
  EXPECT_EQ(copy.label, kNoLabel);
}

TEST(Packed, ShrinksToASideAndNeverEnlarges) {
  const TemporaryFolder folder;
  write_file(folder / "in/a.png", testing::png(30, 61, 3, 1));
  write_file(folder / "in/b.png", testing::png(12, 14, 3, 2));
  pack((folder / "in").string(), folder / "out", {.side = 15});
  const auto set = open_dataset((folder / "out").string());
  const auto first = decode_record(set->get(0)).pixels;
  EXPECT_EQ(first.sizes(), (std::vector<int64_t>{15, 31, 3}));
  EXPECT_TRUE(at::equal(
      first, resize(testing::noise(30, 61, 3, 1), {0, 0, 30, 61}, {15, 31}, Interpolation::kBicubic)));
  EXPECT_EQ(decode_record(set->get(1)).pixels.sizes(), (std::vector<int64_t>{12, 14, 3}));
}

TEST(Packed, BrokenRecordsAreCountedAndNothingIsLeftBehind) {
  const TemporaryFolder folder;
  write_pictures(folder);
  write_file(folder / "train/cat/3.jpg", jpeg(40, 40, 3).substr(0, 300));
  write_file(folder / ".data.pack.tmp12345", "what a killed process left");
  const auto file = folder / "data.pack";
  EXPECT_THROW(pack((folder / "").string(), file, {}), Error);
  EXPECT_FALSE(std::filesystem::exists(file));
  EXPECT_FALSE(std::filesystem::exists(folder / ".data.pack.tmp12345"));
  const auto report = pack((folder / "").string(), file, {.max_bad = 1});
  EXPECT_EQ(report.left_out, 1);
  EXPECT_EQ(open_dataset(file.string())->size(), 7);
  try {
    pack((folder / "").string(), file, {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("is there already; remove it, or name another file"));
  }
}

TEST(Packed, AStoppedRunLeavesNothing) {
  const TemporaryFolder folder;
  write_pictures(folder);
  PackOptions options;
  options.progress = [](int64_t done, int64_t of) {
    EXPECT_EQ(of, 9);
    if (done > 0) throw Interrupted("stopped");
  };
  options.workers = 1;  // 8 records at a time: stopped between the splits
  EXPECT_THROW(pack((folder / "").string(), folder / "data.pack", options), Interrupted);
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    EXPECT_TRUE(entry.is_directory()) << entry.path();
}

// --- hostile bytes ---------------------------------------------------------------------------------------

TEST(Packed, EveryByteOfTheIndexIsChecked) {
  const TemporaryFolder folder;
  write_file(folder / "in/a/x.png", testing::png(3, 4, 3, 1));
  write_file(folder / "in/b/y.png", testing::png(2, 2, 1, 2));
  pack((folder / "in").string(), folder / "out", {});
  const std::string good = io::read_file(folder / "out"), path = (folder / "bad").string();
  int64_t unnoticed = 0;
  for (size_t at = 0; at < good.size(); ++at) {
    std::string bytes = good;
    bytes[at] = static_cast<char>(bytes[at] ^ 0x10);
    write_file(path, bytes);
    if (error_of("packed:" + path) == "no error") ++unnoticed;
  }
  // Only the padding between pictures, of which nothing is read, may change.
  const int64_t head = 16, pixels = 36 + 4, begin_of_keys = 64 + 64 + 4;
  EXPECT_EQ(unnoticed, begin_of_keys - head - pixels);
}

TEST(Packed, CutAndMendedFilesAreRefused) {
  const TemporaryFolder folder;
  write_file(folder / "in/a/x.png", testing::png(3, 4, 3, 1));
  pack((folder / "in").string(), folder / "out", {});
  const std::string good = io::read_file(folder / "out"), path = (folder / "bad").string();
  const std::string uri = "packed:" + path;
  for (const size_t size : {0UL, 7UL, 16UL, 80UL, good.size() / 2, good.size() - 1}) {
    write_file(path, good.substr(0, size));
    EXPECT_THAT(error_of(uri), HasSubstr(path)) << size;
  }
  // Checksums that fit do not make a lie true.
  const auto lie = [&](const std::function<void(PackedEntry&)>& change) {
    std::string bytes = good;
    PackedTail tail{};
    std::memcpy(&tail, bytes.data() + bytes.size() - sizeof(tail), sizeof(tail));
    PackedEntry entry{};
    std::memcpy(&entry, bytes.data() + tail.entries_at, sizeof(entry));
    change(entry);
    std::memcpy(bytes.data() + tail.entries_at, &entry, sizeof(entry));
    tail.entries_crc = io::crc32c(std::as_bytes(std::span(&entry, 1)));
    tail.crc = io::crc32c(std::as_bytes(std::span(&tail, 1)).first(offsetof(PackedTail, crc)));
    std::memcpy(bytes.data() + bytes.size() - sizeof(tail), &tail, sizeof(tail));
    write_file(path, bytes);
    return error_of(uri);
  };
  EXPECT_EQ(lie([](PackedEntry&) {}), "no error");
  EXPECT_THAT(lie([](PackedEntry& e) { e.at += 64; }), HasSubstr("pixels outside the file"));
  EXPECT_THAT(lie([](PackedEntry& e) { e.at = ~uint64_t{63}; }), HasSubstr("pixels outside the file"));
  EXPECT_THAT(lie([](PackedEntry& e) { e.height = e.width = e.channels = 0x7fffffff; }),
              HasSubstr("an impossible size"));
  EXPECT_THAT(lie([](PackedEntry& e) { e.width = 0; }), HasSubstr("an impossible size"));
  EXPECT_THAT(lie([](PackedEntry& e) { e.height = 1000; }), HasSubstr("pixels outside the file"));
  EXPECT_THAT(lie([](PackedEntry& e) { e.kind = 2; }), HasSubstr("an unknown kind of pixels"));
  EXPECT_THAT(lie([](PackedEntry& e) { e.peak = NAN; }), HasSubstr("an unknown kind of pixels"));
  EXPECT_THAT(lie([](PackedEntry& e) { e.key_bytes = 1000; }), HasSubstr("a key outside the file"));
  EXPECT_THAT(lie([](PackedEntry& e) { e.label = 1; }), HasSubstr("a label without a class"));
  EXPECT_THAT(lie([](PackedEntry& e) { e.label = -2; }), HasSubstr("a label without a class"));
  EXPECT_THAT(lie([](PackedEntry& e) { ++e.crc; }), HasSubstr("are damaged"));
}

TEST(Packed, SurvivesMutations) {
  const TemporaryFolder folder;
  write_pictures(folder);
  const std::string good = io::read_file(packed(folder)), path = (folder / "bad").string();
  io::survive_mutations(good.substr(0, 16) + good.substr(good.size() - 3000), 300,
                        [&](const std::string& bytes) {
                          write_file(path, bytes);
                          const auto set = open_dataset("packed:" + path);
                          for (int64_t i = 0; i < set->size(); ++i) set->get(i);
                        });
}

TEST(Crc32c, EqualsThePublishedFigureEitherWay) {
  // RFC 3720, B.4: 32 bytes of zeros, of ones, and rising.
  const std::string zeros(32, '\0'), ones(32, '\xff');
  std::string rising;
  for (int i = 0; i < 32; ++i) rising += static_cast<char>(i);
  for (auto* crc : {&io::crc32c, &io::crc32c_by_table}) {
    EXPECT_EQ((*crc)(io::as_bytes_of(zeros)), 0x8a9136aaU);
    EXPECT_EQ((*crc)(io::as_bytes_of(ones)), 0x62a8ab43U);
    EXPECT_EQ((*crc)(io::as_bytes_of(rising)), 0x46dd794eU);
    EXPECT_EQ((*crc)(io::as_bytes_of("123456789")), 0xe3069283U);
  }
}

}  // namespace
}  // namespace lacuna::data
