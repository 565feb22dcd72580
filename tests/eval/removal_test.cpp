// The pieces that removal and linearity are measured with.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/eval/linearity.h"
#include "lacuna/eval/object_masks.h"
#include "lacuna/eval/wordnet.h"
#include "tests/support/pictures.h"

namespace lacuna::eval {
namespace {

using lacuna::testing::TemporaryFolder;
using lacuna::testing::write_file;
using ::testing::HasSubstr;

TEST(WordNet, SimilarityIsTheShortestWayOverHypernyms) {
  const TemporaryFolder folder;
  // entity <- animal <- {dog, cat}; entity <- church; dog has two words.
  write_file(folder / "data.noun",
             "  1 This is a licence.  \n"
             "00000001 03 n 01 entity 0 000 | all\n"
             "00000002 05 n 01 animal 0 001 @ 00000001 n 0000 | beast\n"
             "00000003 05 n 02 dog 0 domestic_dog 0 002 @ 00000002 n 0000 ~ 00000004 n 0000 | barks\n"
             "00000004 05 n 01 cat 0 001 @i 00000002 n 0000 | mews\n"
             "00000005 06 n 01 church 0 002 ;c 00000004 n 0000 @ 00000001 n 0000 | stands\n");
  const WordNet words(folder.path());
  EXPECT_DOUBLE_EQ(words.path_similarity("n00000003", "n00000003"), 1);
  EXPECT_DOUBLE_EQ(words.path_similarity("n00000003", "n00000004"), 1.0 / 3);
  EXPECT_DOUBLE_EQ(words.path_similarity("n00000004", "n00000002"), 1.0 / 2);
  EXPECT_DOUBLE_EQ(words.path_similarity("n00000005", "n00000003"), 1.0 / 4);
  EXPECT_THROW(words.path_similarity("n00000009", "n00000003"), Error);
  EXPECT_THROW(WordNet(folder / "nowhere"), Error);
}

TEST(WordNet, ClassesAreNamedOrGiven) {
  EXPECT_EQ(synsets_of({"n01440764 tench", "n02102040"}, {}),
            (std::vector<std::string>{"n01440764", "n02102040"}));
  EXPECT_EQ(synsets_of({"tench"}, {"n01440764"}), std::vector<std::string>{"n01440764"});
  EXPECT_THROW(synsets_of({"tench"}, {}), Error);
  EXPECT_THROW(synsets_of({"tench", "church"}, {"n01440764"}), Error);
}

TEST(ObjectMasks, AreCutAsThePicturesAre) {
  const TemporaryFolder folder;
  auto mask = torch::zeros({8, 8, 1}, torch::kByte);
  mask.slice(0, 4).slice(1, 4).fill_(255);
  write_file(folder / "a.png", io::encode_png(mask));
  const ObjectMasks whole(folder.path(), {.crop = "resize"}, {4, 4});
  auto expected = torch::zeros({1, 1, 4, 4});
  expected.slice(2, 2).slice(3, 2).fill_(1);
  EXPECT_TRUE(whole.of({"a.jpg"}).equal(expected));
  // Resized to 8, of which the middle 4 are seen.
  const ObjectMasks centre(folder.path(), {.crop = "center", .crop_share = 0.5}, {4, 4});
  EXPECT_TRUE(centre.of({"a"}).equal(expected));
  EXPECT_EQ(whole.of({"a", "a"}).size(0), 2);
  EXPECT_THROW(whole.of({"b"}), Error);
}

TEST(Linearity, PartsThatAddUpHaveNoDistance) {
  const auto parts = torch::tensor({{{3.F, 0.F}, {0.F, 4.F}}, {{1.F, 0.F}, {1.F, 0.F}}});
  const auto measured = linearity(parts, torch::tensor({{3.F, 4.F}, {0.F, 2.F}}));
  EXPECT_NEAR(measured.distance[0].item<double>(), 0, 1e-6);
  EXPECT_NEAR(measured.cosine[0].item<double>(), 1, 1e-6);
  EXPECT_NEAR(measured.magnitude[0].item<double>(), 3.5, 1e-6);
  EXPECT_NEAR(measured.distance[1].item<double>(), std::sqrt(8.0) / 2, 1e-6);
  EXPECT_NEAR(measured.cosine[1].item<double>(), 0, 1e-6);
}

}  // namespace
}  // namespace lacuna::eval
