#include "lacuna/eval/reproduce.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "lacuna/core/error.h"
#include "tests/support/pictures.h"

namespace lacuna::eval {
namespace {

using ::testing::HasSubstr;

constexpr const char* kClaims = R"(
[[claim]]
name = "a"
statement = "s"
paper = "p"
recipe = "x.toml"
protocol = "linear"
margin = 0.01
[claim.ours]
name = "big"
settings = ["mask.ratio=0.75"]
[claim.baseline]
name = "small"
)";

std::string refusal(const io::fs::path& folder, const std::string& text) {
  io::write_atomically(folder / "claims.toml", text);
  try {
    read_claims(folder / "claims.toml");
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Claims, AreReadWithTheirRecipeBesideThem) {
  const testing::TemporaryFolder folder;
  EXPECT_EQ(refusal(folder.path(), kClaims), "");
  const auto claims = read_claims(folder.path() / "claims.toml");
  ASSERT_EQ(claims.size(), 1U);
  EXPECT_EQ(claims[0].recipe, (folder.path() / "x.toml").string());
  EXPECT_EQ(claims[0].metric, "top1");
  EXPECT_EQ(claims[0].ours.settings, (std::vector<std::string>{"mask.ratio=0.75"}));
}

TEST(Claims, FaultsAreNamed) {
  const testing::TemporaryFolder folder;
  EXPECT_THAT(refusal(folder.path(), "x = 1"), HasSubstr("no [[claim]]"));
  EXPECT_THAT(refusal(folder.path(), "[[claim]]\nname = \"a\"\nstatment = \"s\""),
              HasSubstr("did you mean 'statement'"));
  EXPECT_THAT(refusal(folder.path(), "[[claim]]\nname = \"a\""), HasSubstr("'statement'"));
  EXPECT_THAT(refusal(folder.path(), std::string(kClaims) + "settings = 3\n"), HasSubstr("list of strings"));
}

TEST(Claims, ArmsShareARunOnlyWhereItIsTheSame) {
  const testing::TemporaryFolder folder;
  const auto claim = [](const std::string& name, const std::string& ours, const std::string& rest = "") {
    return str("[[claim]]\nname = \"", name, "\"\nstatement = \"s\"\npaper = \"p\"\nrecipe = \"x.toml\"\n",
               "protocol = \"linear\"\n", rest, "[claim.ours]\nname = \"plain\"\n", ours,
               "[claim.baseline]\nname = \"other\"\n");
  };
  const std::string shared = "run = \"plain\"\nsettings = [\"mask.ratio=0.75\"]\n";
  EXPECT_EQ(refusal(folder.path(), claim("a", shared) + claim("b", shared)), "");
  const auto claims = read_claims(folder.path() / "claims.toml");
  EXPECT_EQ(claims[1].ours.run, "plain");
  EXPECT_EQ(claims[1].baseline.run, "");
  EXPECT_THAT(refusal(folder.path(), claim("a", shared) + claim("b", "run = \"plain\"\n")),
              HasSubstr("run 'plain' has other settings"));
  EXPECT_THAT(
      refusal(folder.path(), claim("a", shared) + claim("b", shared, "settings = [\"train.steps=3\"]\n")),
      HasSubstr("run 'plain' has other settings"));
  // Measured in another way it is still the same run: each measure has a file of its own.
  EXPECT_EQ(refusal(folder.path(),
                    claim("a", shared) + claim("b", shared, "eval_settings = [\"eval.epochs=3\"]\n")),
            "");
}

TEST(Outcome, NoWorseThanIsClearWithinANegativeMargin) {
  Outcome outcome;
  outcome.claim.margin = -0.02;
  outcome.ours.values = {0.500, 0.501, 0.502};
  outcome.baseline.values = {0.501, 0.502, 0.503};
  EXPECT_TRUE(outcome.holds());
  EXPECT_TRUE(outcome.is_clear());  // -0.001 + 0.02 > 2 * sqrt(2 * 0.001^2 / 3) = 0.0016
  outcome.ours.values = {0.47, 0.50, 0.53};
  EXPECT_TRUE(outcome.holds());
  EXPECT_FALSE(outcome.is_clear());
  outcome.ours.values = {0.47, 0.475, 0.48};
  EXPECT_FALSE(outcome.holds());
  outcome.ours.seconds = {100, 102};
  EXPECT_THAT(outcome.to_text(), HasSubstr("pre-training 101 s"));
}

TEST(Claims, SeveralBaselinesAndSharedRuns) {
  const testing::TemporaryFolder folder;
  std::string text = kClaims;
  text.replace(text.find("[claim.baseline]\nname = \"small\""), std::string::npos,
               "run = \"shared\"\n[[claim.baselines]]\nname = \"x\"\nrun = "
               "\"x-run\"\n[[claim.baselines]]\nname = \"y\"\n");
  EXPECT_THAT(refusal(folder.path(), text), HasSubstr("'choose'"));
  text.insert(text.find("margin"), "choose = \"best\"\neval_query = \"label_field=1\"\n");
  EXPECT_EQ(refusal(folder.path(), text), "");
  const auto claim = read_claims(folder.path() / "claims.toml").at(0);
  EXPECT_EQ(claim.ours.run, "shared");
  ASSERT_EQ(claim.baselines.size(), 2U);
  EXPECT_EQ(claim.baselines[0].run, "x-run");
  EXPECT_EQ(claim.baselines[1].metric, "top1");
  EXPECT_EQ(claim.baseline.name, "best of x, y");
  EXPECT_EQ(claim.eval_query, "label_field=1");
}

TEST(Outcome, LowerCanBeBetter) {
  const testing::TemporaryFolder folder;
  EXPECT_EQ(refusal(folder.path(),
                    std::string(kClaims).replace(std::string(kClaims).find("margin"), 0, "lower = true\n")),
            "");
  Outcome outcome;
  outcome.claim = read_claims(folder.path() / "claims.toml").at(0);
  ASSERT_TRUE(outcome.claim.lower);
  outcome.claim.margin = 0;
  outcome.ours.values = {0.40, 0.42, 0.44};
  outcome.baseline.values = {0.50, 0.52, 0.54};
  EXPECT_NEAR(outcome.difference(), 0.10, 1e-12);
  EXPECT_TRUE(outcome.is_clear());
  std::swap(outcome.ours, outcome.baseline);
  EXPECT_FALSE(outcome.holds());
}

TEST(Outcome, DirectionAndClearnessAreToldApart) {
  Outcome outcome;
  outcome.claim.ours.name = "x", outcome.claim.baseline.name = "y";
  outcome.ours.values = {0.50, 0.52, 0.54};
  outcome.baseline.values = {0.40, 0.42, 0.44};
  EXPECT_NEAR(outcome.ours.deviation(), 0.02, 1e-12);
  EXPECT_NEAR(outcome.difference(), 0.10, 1e-12);
  EXPECT_TRUE(outcome.holds());
  EXPECT_TRUE(outcome.is_clear());  // 0.10 > 2 * sqrt(2 * 0.02^2 / 3) = 0.033
  outcome.baseline.values = {0.50, 0.51, 0.53};
  EXPECT_TRUE(outcome.holds());
  EXPECT_FALSE(outcome.is_clear());
  EXPECT_THAT(outcome.to_text(), HasSubstr("within two standard errors"));
  outcome.claim.margin = 0.05;
  EXPECT_FALSE(outcome.holds());
  outcome.ours.values = {0.9}, outcome.baseline.values = {0.1};
  EXPECT_FALSE(outcome.is_clear());
  EXPECT_THAT(outcome.to_text(), HasSubstr("no evidence either way"));
}

}  // namespace
}  // namespace lacuna::eval
