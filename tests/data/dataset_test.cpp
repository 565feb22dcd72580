#include "lacuna/data/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/subset.h"
#include "tests/io/bytes.h"
#include "tests/support/pictures.h"
#include "tests/support/shared.h"

namespace lacuna::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::png;
using testing::shared_folder;
using testing::tar_end;
using testing::tar_member;
using testing::TemporaryFolder;
using testing::write_file;

std::vector<int64_t> label_counts(const Dataset& dataset) {
  std::vector<int64_t> counts(dataset.classes().size());
  for (int64_t i = 0; i < dataset.size(); ++i) ++counts[static_cast<size_t>(dataset.label(i))];
  return counts;
}

std::vector<int64_t> labels(const Dataset& dataset) {
  std::vector<int64_t> out;
  for (int64_t i = 0; i < dataset.size(); ++i) out.push_back(dataset.label(i));
  return out;
}

std::string error_of(const std::string& uri, const std::string& split = "") {
  try {
    open_dataset(uri, split);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

at::Tensor decoded(const Record& record) { return decode_record(record).pixels; }

/// Writes `path`.gz.
void write_gzip(const std::filesystem::path& path, const std::string& content) {
  write_file(path, content);
  ASSERT_EQ(std::system(("gzip -f " + path.string()).c_str()), 0);
}

// --- URIs ------------------------------------------------------------------------------------------------

TEST(Uri, IsSplitIntoItsParts) {
  const Uri uri = parse_uri("wds:/data/a-{00..12}.tar?split=val&x=1");
  EXPECT_EQ(uri.scheme, "wds");
  EXPECT_EQ(uri.path, "/data/a-{00..12}.tar");
  EXPECT_EQ(uri.query, (std::map<std::string, std::string>{{"split", "val"}, {"x", "1"}}));
}

TEST(Uri, ABarePathIsRecognisedByWhatLiesThere) {
  const TemporaryFolder folder;
  write_file(folder / "shards/a.tar", "");
  write_file(folder / "mnist/train-images-idx3-ubyte.gz", "");
  write_file(folder / "cifar/data_batch_1.bin", "");
  write_file(folder / "pictures/a/b.jpg", "");
  EXPECT_EQ(parse_uri(folder / "shards").scheme, "wds");
  EXPECT_EQ(parse_uri(folder / "shards/a-{0..3}.tar").scheme, "wds");
  EXPECT_EQ(parse_uri(folder / "mnist").scheme, "idx");
  EXPECT_EQ(parse_uri(folder / "cifar").scheme, "cifar10");
  EXPECT_EQ(parse_uri((folder / "pictures").string() + "?split=train").scheme, "imagefolder");
}

TEST(Uri, MistakesNameTheRemedy) {
  const TemporaryFolder folder;
  write_file(folder / "a/x.png", png(2, 2, 3));
  const std::string path = folder.path().string();
  EXPECT_THAT(error_of("imagefoldr:" + path), HasSubstr("did you mean 'imagefolder'?"));
  EXPECT_THAT(error_of("imagefolder:" + path + "?splt=val"),
              HasSubstr("unknown query key 'splt'; did you mean 'split'?"));
  EXPECT_THAT(error_of("imagefolder:" + path + "?split=val"),
              HasSubstr("has no split 'val'; leave split out"));
  EXPECT_THAT(error_of(path + "/missing"), HasSubstr("is not there"));
  EXPECT_THAT(error_of("imagefolder:" + path + "?split"), HasSubstr("is not key=value"));
  EXPECT_EQ(open_dataset(path, "val")->size(), 1);  // a split that the set does not have is only a wish here
}

// --- imagefolder -----------------------------------------------------------------------------------------

TEST(ImageFolder, ClassesAreSortedFolders) {
  const TemporaryFolder folder;
  write_file(folder / "b/2.JPEG", "x");
  write_file(folder / "b/10.jpg", "x");
  write_file(folder / "B/deep/er/1.png", png(3, 4, 3, 9));
  write_file(folder / "c/notes.txt", "x");
  write_file(folder / "c/y.tiff", "x");
  write_file(folder / ".hidden/z.png", "x");
  const auto set = open_dataset(folder.path().string());
  EXPECT_THAT(set->classes(), ElementsAre("B", "b", "c"));
  EXPECT_EQ(labels(*set), (std::vector<int64_t>{0, 1, 1, 2}));
  EXPECT_EQ(set->get(1).key, (folder / "b/10.jpg").string());
  EXPECT_EQ(set->get(2).key, (folder / "b/2.JPEG").string());
  EXPECT_TRUE(at::equal(decoded(set->get(0)), testing::noise(3, 4, 3, 9)));
  EXPECT_EQ(open_test_split(folder.path().string()), nullptr);
}

TEST(ImageFolder, WithoutFoldersThereAreNoLabels) {
  const TemporaryFolder folder;
  write_file(folder / "1.png", "x");
  write_file(folder / "2.npy", "x");
  const auto set = open_dataset(folder.path().string());
  EXPECT_EQ(set->size(), 2);
  EXPECT_FALSE(set->labelled());
  EXPECT_EQ(set->label(0), kNoLabel);
}

TEST(ImageFolder, SplitsAreFolders) {
  const TemporaryFolder folder;
  write_file(folder / "train/a/1.png", "x");
  write_file(folder / "train/a/2.png", "x");
  write_file(folder / "val/a/3.png", "x");
  const std::string path = folder.path().string();
  EXPECT_EQ(open_dataset(path)->size(), 2);
  EXPECT_EQ(open_dataset(path)->uri(), "imagefolder:" + path + "?split=train");
  EXPECT_EQ(open_dataset(path, "val")->size(), 1);
  EXPECT_EQ(open_dataset(path, "test")->size(), 1);  // there is no test folder: val stands in
  EXPECT_EQ(open_dataset(path + "?split=val", "train")->size(), 1);
  EXPECT_EQ(open_test_split(path)->size(), 1);
  EXPECT_EQ(open_test_split(path + "?split=train")->uri(), "imagefolder:" + path + "?split=val");
  EXPECT_EQ(open_test_split(path + "?split=val"), nullptr);
  EXPECT_THAT(error_of(path + "?split=test"), HasSubstr("its splits: train, val"));
}

TEST(ImageFolder, EmptyFoldersAreErrors) {
  const TemporaryFolder folder;
  EXPECT_THAT(error_of(folder.path().string()), HasSubstr("holds no picture"));
  write_file(folder / "a/1.png", "x");
  write_file(folder / "b/1.txt", "x");
  EXPECT_THAT(error_of(folder.path().string()), HasSubstr((folder / "b").string() + ": holds no picture"));
}

// --- wds -------------------------------------------------------------------------------------------------

TEST(WebDataset, RecordsLabelsAndNames) {
  const TemporaryFolder folder;
  write_file(folder / "s-00.tar", tar_member("d/a.cls", "1\n") + tar_member("d/a.png", png(2, 3, 3, 1)) +
                                      tar_member("d/b.seg.png", "x") +
                                      tar_member("d/b.json", R"({"label": 0})") +
                                      tar_member("d/b.PNG", png(2, 3, 1, 2)) + tar_end());
  const std::string second = tar_member("c.png", png(5, 4, 3, 3)) + tar_member("c.cls", "2") + tar_end();
  write_gzip(folder / "s-01.tar", second);
  write_file(folder / "classes.txt", "0 n00000001 old tench\n1 n00000002 dog\ntruck\n");
  const auto check = [&](const std::string& uri) {
    const auto set = open_dataset(uri);
    EXPECT_EQ(labels(*set), (std::vector<int64_t>{1, 0, 2}));
    EXPECT_THAT(set->classes(), ElementsAre("old tench", "dog", "truck"));
    EXPECT_EQ(set->get(1).key, (folder / "s-00.tar").string() + "#d/b.PNG");
    EXPECT_TRUE(at::equal(decoded(set->get(2)), testing::noise(5, 4, 3, 3)));
  };
  check(folder.path().string());
  std::filesystem::remove(folder / "s-01.tar.gz");
  write_file(folder / "s-01.tar", second);
  check("wds:" + (folder / "s-{00..01}.tar").string());
}

TEST(WebDataset, MalformedShardsAreErrors) {
  const TemporaryFolder folder;
  const std::string path = (folder / "s.tar").string(), picture = png(2, 2, 1);
  const auto error = [&](const std::string& content) {
    write_file(path, content + tar_end());
    return error_of("wds:" + path);
  };
  EXPECT_THAT(error(tar_member("a.png", picture) + tar_member("a.cls", "cat")),
              HasSubstr(path + "#a.cls: is not a class number; write 0, 1, 2"));
  EXPECT_THAT(error(tar_member("a.png", picture) + tar_member("a.cls", "-3")),
              HasSubstr("not a class number"));
  EXPECT_THAT(error(tar_member("a.png", picture) + tar_member("a.json", "{")),
              HasSubstr("#a.json: is not a JSON"));
  EXPECT_THAT(error(tar_member("a.png", picture) + tar_member("b.png", picture) + tar_member("a.cls", "1")),
              HasSubstr("#a.cls: its key occurs before"));
  EXPECT_THAT(error(tar_member("a.txt", "x")), HasSubstr("holds no picture"));
  EXPECT_THAT(error_of("wds:" + (folder / "s-{000..x}.tar").string()), HasSubstr("is not a range"));
  EXPECT_THAT(error_of("wds:" + (folder / "missing.tar").string()), HasSubstr("missing.tar"));
  write_file(folder / "classes.txt", "only\n");
  EXPECT_THAT(error(tar_member("a.png", picture) + tar_member("a.cls", "1")),
              HasSubstr("names 1 classes, but there is a label 1"));
}

TEST(WebDataset, SharedImagenette) {
  LACUNA_NEEDS_SHARED("data/imagenette160");
  const std::string path = (shared_folder() / "data/imagenette160").string();
  const auto train = open_dataset(path), val = open_test_split(path);
  EXPECT_EQ(train->size(), 4000);
  EXPECT_EQ(label_counts(*train), std::vector<int64_t>(10, 400));
  EXPECT_EQ(label_counts(*val), std::vector<int64_t>(10, 100));
  EXPECT_EQ(train->classes()[1], "English springer");
  EXPECT_EQ(decoded(val->get(0)).size(2), 3);
}

TEST(WebDataset, SharedCifar10) {
  LACUNA_NEEDS_SHARED("data/cifar10");
  const std::string path = (shared_folder() / "data/cifar10").string();
  const auto train = open_dataset("wds:" + path), test = open_test_split("wds:" + path);
  EXPECT_EQ(label_counts(*train), std::vector<int64_t>(10, 2000));
  EXPECT_EQ(label_counts(*test), std::vector<int64_t>(10, 500));
  EXPECT_EQ(train->classes()[9], "truck");
  EXPECT_THAT(decoded(train->get(19999)).sizes(), ElementsAre(32, 32, 3));
  const auto folder = open_dataset(path + "/imagefolder-100");
  EXPECT_EQ(label_counts(*folder), std::vector<int64_t>(10, 8));
  EXPECT_EQ(label_counts(*open_test_split(path + "/imagefolder-100")), std::vector<int64_t>(10, 2));
}

// --- cifar10 ---------------------------------------------------------------------------------------------

/// Reads every record of a set whose one file `name` is mutated again and again.
void survive_mutated_file(const TemporaryFolder& folder, const std::string& name, const std::string& good,
                          int rounds) {
  io::survive_mutations(good, rounds, [&](const std::string& bytes) {
    std::filesystem::remove(folder / name);  // rewriting a file in place makes ext4 flush it every time
    write_file(folder / name, bytes);
    const auto set = open_dataset(folder.path().string());
    for (int64_t i = 0; i < set->size(); ++i) {
      const Record record = set->get(i);
      EXPECT_LT(static_cast<size_t>(record.label + 1), set->classes().size() + 1) << record.key;
    }
  });
}

TEST(Cifar10, MutatedFilesGiveRecordsOrAnError) {
  const TemporaryFolder folder;
  write_file(folder / "batches.meta.txt", "airplane\n");
  survive_mutated_file(folder, "test_batch.bin", std::string(4 * 3073, '\3'), 1000);
}

TEST(Cifar10, PlanesBecomePixels) {
  const TemporaryFolder folder;
  std::string record(3073, '\0');
  record[0] = 7;
  record[1 + 5] = 11, record[1 + 1024 + 5] = 12, record[1 + 2048 + 5] = 13;
  write_file(folder / "data_batch_1.bin", record + record);
  write_file(folder / "data_batch_3.bin", record);
  write_file(folder / "test_batch.bin", std::string(3073, '\1'));
  write_file(folder / "batches.meta.txt",
             "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n");
  const auto set = open_dataset(folder.path().string());
  EXPECT_EQ(labels(*set), (std::vector<int64_t>{7, 7, 7}));
  EXPECT_EQ(set->classes()[7], "horse");
  const auto pixel = decoded(set->get(2))[0][5];
  EXPECT_EQ(pixel[0].item<int>(), 11);
  EXPECT_EQ(pixel[2].item<int>(), 13);
  EXPECT_EQ(labels(*open_test_split(folder.path().string())), (std::vector<int64_t>{1}));
  write_file(folder / "data_batch_1.bin", record + "x");
  EXPECT_THAT(error_of(folder.path().string()),
              HasSubstr("data_batch_1.bin: has 3074 bytes, no multiple of 3073"));
  record[0] = 10;
  write_file(folder / "data_batch_1.bin", record);
  EXPECT_THAT(error_of(folder.path().string()), HasSubstr("#0: has label 10"));
}

// --- idx -------------------------------------------------------------------------------------------------

std::string idx_header(std::initializer_list<uint32_t> shape) {
  std::string out{'\0', '\0', '\10', static_cast<char>(shape.size())};
  for (const uint32_t size : shape)
    for (const int shift : {24, 16, 8, 0}) out += static_cast<char>(size >> shift);
  return out;
}

TEST(Idx, ReadsImagesAndLabels) {
  const TemporaryFolder folder;
  write_file(folder / "train-images-idx3-ubyte", idx_header({2, 2, 3}) + "abcdefghijkl");
  write_gzip(folder / "train-labels-idx1-ubyte", idx_header({2}) + "\3\1");
  const auto set = open_dataset(folder.path().string());
  EXPECT_EQ(labels(*set), (std::vector<int64_t>{3, 1}));
  EXPECT_EQ(set->classes().size(), 4U);
  EXPECT_THAT(decoded(set->get(1)).sizes(), ElementsAre(2, 3, 1));
  EXPECT_EQ(decoded(set->get(1))[1][2].item<int>(), 'l');
}

TEST(Idx, HeadersAreCheckedAgainstBytes) {
  const TemporaryFolder folder;
  const auto error = [&](const std::string& images) {
    write_file(folder / "train-images-idx3-ubyte", images);
    return error_of(folder.path().string());
  };
  EXPECT_THAT(error("\0\0"), HasSubstr("ends within its header"));
  EXPECT_THAT(error(idx_header({2, 2, 3}) + "abc"), HasSubstr("does not fit its 3 bytes"));
  EXPECT_THAT(error(idx_header({0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF}) + "abc"), HasSubstr("does not fit"));
  EXPECT_THAT(error(idx_header({0, 2, 2})), HasSubstr("does not fit"));
  EXPECT_THAT(error(idx_header({2, 2}) + "abcdabcdabcd"), HasSubstr("is no IDX file of bytes with 3"));
  write_file(folder / "train-labels-idx1-ubyte", idx_header({3}) + "abc");
  EXPECT_THAT(error(idx_header({2, 1, 1}) + "ab"), HasSubstr("holds 3 labels for 2 images"));
}

TEST(Idx, MutatedFilesGiveRecordsOrAnError) {
  const TemporaryFolder folder;
  const std::string images = idx_header({3, 2, 2}) + "abcdefghijkl", labels = idx_header({3}) + "\3\1\2";
  write_file(folder / "train-labels-idx1-ubyte", labels);
  survive_mutated_file(folder, "train-images-idx3-ubyte", images, 2000);
  survive_mutated_file(folder, "train-images-idx3-ubyte", io::gzip(images), 2000);
  write_file(folder / "train-images-idx3-ubyte", images);
  survive_mutated_file(folder, "train-labels-idx1-ubyte", labels, 2000);
}

TEST(Idx, SharedFashionMnist) {
  LACUNA_NEEDS_SHARED("data/fashion-mnist");
  const std::string path = (shared_folder() / "data/fashion-mnist").string();
  const auto train = open_dataset(path), test = open_test_split(path);
  EXPECT_EQ(train->size(), 20000);
  EXPECT_EQ(label_counts(*test), std::vector<int64_t>(10, 1000));
  const auto counts = label_counts(*train);
  EXPECT_EQ(*std::min_element(counts.begin(), counts.end()), 1935);
  EXPECT_EQ(*std::max_element(counts.begin(), counts.end()), 2068);
  EXPECT_EQ(open_dataset(path + "/t10k-images-idx3-ubyte.gz")->size(), 10000);
}

// --- parts of a set --------------------------------------------------------------------------------------

TEST(TestSplit, OfASyntheticSetIsNamedByItsUri) {
  const auto train = open_dataset("synthetic:scenes?count=3&size=16", "train");
  const auto test = open_test_split(train->uri());
  EXPECT_EQ(test->uri(), "synthetic:scenes?count=3&size=16&split=test");
  EXPECT_FALSE(at::equal(decoded(train->get(0)), decoded(test->get(0))));
  EXPECT_EQ(open_dataset(test->uri())->get(2).key, test->get(2).key);
  EXPECT_EQ(open_test_split(test->uri()), nullptr);
}

std::set<std::string> keys_of(const Dataset& dataset) {
  std::set<std::string> keys;
  for (int64_t i = 0; i < dataset.size(); ++i) keys.insert(dataset.get(i).key);
  return keys;
}

TEST(HoldOut, TakesTheShareOfEachClass) {
  const TemporaryFolder folder;
  for (int i = 0; i < 40; ++i) write_file(folder / str("a/", i, ".png"), "x");
  for (int i = 0; i < 10; ++i) write_file(folder / str("b/", i, ".png"), "x");
  const std::shared_ptr<Dataset> whole = open_dataset(folder.path().string());
  const auto [kept, held] = hold_out(whole, 0.2, 5);
  EXPECT_EQ(label_counts(*kept), (std::vector<int64_t>{32, 8}));
  EXPECT_EQ(label_counts(*held), (std::vector<int64_t>{8, 2}));
  auto keys = keys_of(*kept);
  keys.merge(keys_of(*held));
  EXPECT_EQ(keys.size(), 50U);
  EXPECT_EQ(hold_out(whole, 0.2, 5).second->get(3).key, held->get(3).key);
  EXPECT_EQ(label_counts(*subset(whole, {0, 49, 48})), (std::vector<int64_t>{1, 2}));
}

/// 250 records of class a, 40 of b, 3 of c; the files are never read.
std::shared_ptr<Dataset> uneven_classes(const TemporaryFolder& folder) {
  for (const auto& [name, count] : {std::pair{"a", 250}, {"b", 40}, {"c", 3}})
    for (int i = 0; i < count; ++i) write_file(folder / str(name, "/", 1000 + i, ".png"), "x");
  return open_dataset(folder.path().string());
}

TEST(BalancedSubset, TakesOfEveryClassInTurn) {
  const TemporaryFolder folder;
  const auto whole = uneven_classes(folder);
  EXPECT_EQ(label_counts(*balanced_subset(whole, 7, 3)), (std::vector<int64_t>{3, 2, 2}));
  EXPECT_EQ(label_counts(*balanced_subset(whole, 60, 3)), (std::vector<int64_t>{29, 28, 3}));
  EXPECT_EQ(balanced_subset(whole, 0, 3), whole);
  EXPECT_EQ(balanced_subset(whole, 293, 3), whole);
}

TEST(LabelSubset, IsTheShareOfEachClassNestedAndChosenBySeed) {
  const TemporaryFolder folder;
  const auto whole = uneven_classes(folder);
  std::set<std::string> smaller;
  const std::vector<std::pair<double, std::vector<int64_t>>> wanted{
      {0.01, {3, 1, 1}}, {0.05, {13, 2, 1}}, {0.1, {25, 4, 1}}, {1.0, {250, 40, 3}}};
  for (const auto& [share, counts] : wanted) {
    const auto part = label_subset(whole, share, 1);
    EXPECT_EQ(label_counts(*part), counts) << share;
    auto keys = keys_of(*part);
    EXPECT_TRUE(std::includes(keys.begin(), keys.end(), smaller.begin(), smaller.end())) << share;
    EXPECT_EQ(keys, keys_of(*label_subset(whole, share, 1)));
    smaller = std::move(keys);
  }
  EXPECT_NE(keys_of(*label_subset(whole, 0.05, 1)), keys_of(*label_subset(whole, 0.05, 2)));
  EXPECT_THROW(label_subset(whole, 0, 1), Error);
  EXPECT_THROW(label_subset(whole, 1.5, 1), Error);
}

TEST(LabelSubset, NeedsLabels) {
  const TemporaryFolder folder;
  write_file(folder / "a.png", "x");
  EXPECT_THROW(label_subset(open_dataset(folder.path().string()), 0.5, 1), Error);
}

}  // namespace
}  // namespace lacuna::data
