#include "lacuna/data/captions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/caption_files.h"
#include "lacuna/data/subset.h"
#include "tests/support/shared.h"

namespace lacuna::data {
namespace {

using ::testing::ElementsAre;

std::vector<Captioned> read(const std::string& content, int64_t without = 0) {
  int64_t found = -1;
  auto out = read_captions(content, "list", found);
  EXPECT_EQ(found, without);
  return out;
}

TEST(CaptionFiles, Coco) {
  const auto found = read(R"({"images": [{"id": 7, "file_name": "b.jpg"}, {"id": 3, "file_name": "a.jpg"},
      {"id": 9, "file_name": "c.jpg"}],
      "annotations": [{"image_id": 3, "caption": "one "}, {"image_id": 7, "caption": "two"},
      {"image_id": 3, "caption": "three"}]})",
                          /*without=*/1);
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].image, "b.jpg");
  EXPECT_THAT(found[1].captions, ElementsAre("one", "three"));
  EXPECT_THROW(read(R"({"images": [], "annotations": [{"image_id": 1, "caption": "x"}]})"), Error);
}

TEST(CaptionFiles, KarpathyWithSplits) {
  const auto found = read(R"({"images": [{"filepath": "val", "filename": "a.jpg", "split": "restval",
      "sentences": [{"raw": "A dog."}, {"raw": "A cat."}]}]})");
  EXPECT_EQ(found.at(0).image, "val/a.jpg");
  EXPECT_EQ(found[0].split, "train");
  EXPECT_THAT(found[0].captions, ElementsAre("A dog.", "A cat."));
}

TEST(CaptionFiles, Tables) {
  const auto quoted = read("image,caption\na.jpg,\"a \"\"red\"\" dog, running\"\na.jpg,second\nb.jpg,\n", 1);
  ASSERT_EQ(quoted.size(), 1U);
  EXPECT_THAT(quoted[0].captions, ElementsAre("a \"red\" dog, running", "second"));
  const auto flickr30k =
      read("image_name| comment_number| comment\n1.jpg| 0| Two men .\n1.jpg| 1| Again .\n");
  EXPECT_THAT(flickr30k.at(0).captions, ElementsAre("Two men .", "Again ."));
  const auto flickr8k = read("1.jpg#0\tA child .\n1.jpg#1\tA girl .\n2.jpg#0\tA dog .\n");
  ASSERT_EQ(flickr8k.size(), 2U);
  EXPECT_THAT(flickr8k[0].captions, ElementsAre("A child .", "A girl ."));
  EXPECT_THROW(read("no table at all"), Error);
  EXPECT_THROW(read("a,b\n1,2\n"), Error);
}

TEST(CaptionFiles, JsonLines) {
  const auto found = read(
      "{\"file_name\": \"a.png\", \"text\": \"one\"}\n{\"image\": \"b.png\", \"captions\": [\"x\", "
      "\"y\"]}\n");
  ASSERT_EQ(found.size(), 2U);
  EXPECT_THAT(found[1].captions, ElementsAre("x", "y"));
  EXPECT_THROW(read("{\"text\": \"no picture\"}\n"), Error);
}

TEST(Captions, TemplatesSpeakOfClasses) {
  EXPECT_EQ(spoken_class("Great_Dane"), "great dane");
  EXPECT_EQ(fill_template("a {} is a {}.", "cat"), "a cat is a cat.");
  EXPECT_THROW(fill_template("no place", "cat"), Error);
  auto plain = open_dataset("synthetic:scenes?count=4");
  EXPECT_TRUE(plain->get(0).captions.empty());
  const auto spoken = with_class_captions(plain, {"a {}.", "one {}."});
  const auto record = spoken->get(2);
  ASSERT_EQ(record.captions.size(), 2U);
  EXPECT_EQ(record.captions[1],
            "one " + spoken_class(plain->classes()[static_cast<size_t>(record.label)]) + ".");
}

TEST(Captions, TextsAreFramedAndCut) {
  const CaptionEncoder encoder("", 5);
  EXPECT_EQ(encoder.vocab_size(), 259);
  const auto rows = encoder.encode(std::vector<std::string>{"ab", "abcdef", ""});
  EXPECT_TRUE(
      rows.equal(torch::tensor({{256, 97, 98, 257, -1}, {256, 97, 98, 99, 257}, {256, 257, -1, -1, -1}})))
      << rows;
  EXPECT_EQ(encoder.decode(rows[0]), "ab");
}

TEST(Captions, ShardsHoldThem) {
  LACUNA_NEEDS_SHARED("data/flickr8k-1k");
  const auto path = testing::shared_folder() / "data/flickr8k-1k/flickr8k-test-0000.tar";
  const auto dataset = open_dataset("wds:" + path.string());
  EXPECT_EQ(dataset->size(), 100);
  EXPECT_EQ(dataset->get(0).captions.size(), 5U);
}

TEST(Subset, FewShotsAreNestedAndHalvesKeepLabels) {
  const std::shared_ptr<Dataset> whole = open_dataset("synthetic:scenes?count=100");
  const auto two = few_shots(whole, 2, 1), four = few_shots(whole, 4, 1);
  EXPECT_EQ(two->size(), 20);
  EXPECT_EQ(four->size(), 40);
  std::set<std::string> larger;
  for (int64_t i = 0; i < four->size(); ++i) larger.insert(four->get(i).key);
  for (int64_t i = 0; i < two->size(); ++i) EXPECT_TRUE(larger.count(two->get(i).key));
  const auto second = class_half(whole, "new");
  EXPECT_EQ(second->size(), 50);
  for (int64_t i = 0; i < second->size(); ++i) EXPECT_GE(second->label(i), 5);
  EXPECT_EQ(second->classes().size(), 10U);
  EXPECT_EQ(class_range("base", 5), (std::pair<int64_t, int64_t>{0, 3}));
}

}  // namespace
}  // namespace lacuna::data
