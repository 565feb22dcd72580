#include "lacuna/core/error.h"

#include <gtest/gtest.h>

namespace lacuna {
namespace {

TEST(Error, IsOneLineOfWhatWhyAndRemedy) {
  try {
    fail("a.png", "not\na picture", "remove it");
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "a.png: not a picture; remove it");
    EXPECT_EQ(error.subject(), "a.png");
    EXPECT_EQ(error.remedy(), "remove it");
    return;
  }
  FAIL() << "nothing was thrown";
}

TEST(Error, NearestFindsTyposAndLeavesOnly) {
  const std::vector<std::string> keys{"mask.ratio", "train.epochs", "encoder.depth"};
  EXPECT_EQ(nearest("mask.ration", keys), "mask.ratio");
  EXPECT_EQ(nearest("ratio", keys), "mask.ratio");
  EXPECT_EQ(nearest("zzzzzzzz", keys), "");
}

TEST(Error, SuggestNamesTheNearOneElseAll) {
  EXPECT_EQ(suggest("mea", {"mae", "simmim"}), "did you mean 'mae'?");
  EXPECT_EQ(suggest("something", {"mae", "simmim"}), "known: mae, simmim");
  EXPECT_EQ(suggest("mae", {}), "there is none here");
}

TEST(Error, JoinPutsSeparatorsBetween) {
  EXPECT_EQ(join({"a", "b", "c"}), "a, b, c");
  EXPECT_EQ(join({}), "");
  EXPECT_EQ(join({"", "b"}), ", b");
}

}  // namespace
}  // namespace lacuna
