#include "lacuna/core/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lacuna/core/error.h"
#include "tests/io/bytes.h"

namespace lacuna {
namespace {

struct Inner {
  Size2 img_size{224, 224};
  std::string pool = "avg";
  void fields(Fields& f) {
    f("img_size", img_size, "height and width").range(1);
    f("pool", pool, "how tokens become one vector").choices({"avg", "token"});
  }
};

struct Outer {
  bool flag = true;
  int64_t depth = 12;
  double ratio = 0.75;
  std::vector<double> scale{0.2, 1.0};
  std::vector<int64_t> counts{1};
  std::vector<std::string> words{"a", "b"};
  Inner encoder;
  void fields(Fields& f) {
    f("flag", flag, "a switch");
    f("depth", depth, "blocks").range(0);
    f("ratio", ratio, "share hidden").range(0, 1);
    f("scale", scale, "two areas");
    f("counts", counts, "whole numbers");
    f("words", words, "words");
    f.group("encoder", encoder);
  }
};

struct Config : ::testing::Test {
  Outer outer;
  ConfigTable table;
  Config() { table.add("part", outer); }

  std::string error_of(const std::string& key, const std::string& text) {
    try {
      table.set_text(key, text, "--set");
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
};

TEST_F(Config, TomlRoundTripKeepsEveryValue) {
  table.set_assignment("part.ratio=1", "--set");
  table.set_assignment("part.scale=[1e-300, 0.1, 3]", "--set");
  table.set_assignment("part.words=[\"x # y\", \"say \\\"hi\\\"\"]", "--set");
  table.set_assignment("part.encoder.img_size=64x128", "--set");
  Outer copy;
  ConfigTable other;
  other.add("part", copy);
  other.merge(parse_toml(table.to_toml(), "config.toml"), "config.toml");
  EXPECT_EQ(other.to_json(), table.to_json());
  EXPECT_EQ(copy.ratio, 1.0);
  EXPECT_EQ(copy.scale, (std::vector<double>{1e-300, 0.1, 3.0}));
  EXPECT_EQ(copy.words[1], "say \"hi\"");
  EXPECT_EQ(copy.encoder.img_size, (Size2{64, 128}));
}

// Only UTF-8 can be written to config.toml and read again.
TEST_F(Config, OddTextIsKeptOrRefused) {
  const std::string odd = "tab\t, newline\n, delete\x7f\x7f, quote\", backslash\\, \xc3\xa9";
  table.set("part.words", Json::array({odd}), "test");
  EXPECT_EQ(parse_toml(table.to_toml(), "x")["part"]["words"][0], odd);
  EXPECT_THAT(error_of("part.words", "caf\xe9"), ::testing::HasSubstr("expected UTF-8 text"));
  EXPECT_THAT(error_of("part.depth", "\xff"), ::testing::HasSubstr("expected a whole number"));
  EXPECT_EQ(outer.words, (std::vector<std::string>{odd}));
}

TEST_F(Config, SizesAreReadInThreeForms) {
  for (const auto& [text, size] : std::vector<std::pair<std::string, Size2>>{
           {"96", {96, 96}}, {"[64, 128]", {64, 128}}, {"\"32x48\"", {32, 48}}, {"16x8", {16, 8}}}) {
    table.set_text("part.encoder.img_size", text, "--set");
    EXPECT_EQ(outer.encoder.img_size, size) << text;
  }
  EXPECT_NE(error_of("part.encoder.img_size", "[1, 2, 3]"), "");
  EXPECT_NE(error_of("part.encoder.img_size", "0"), "");
  EXPECT_EQ(outer.encoder.img_size, (Size2{16, 8}));
}

TEST_F(Config, UnknownKeyNamesTheNearest) {
  EXPECT_EQ(error_of("part.ration", "1"),
            "config key 'part.ration' (--set): unknown; did you mean 'part.ratio'?");
  EXPECT_THAT(error_of("quite.different", "1"), ::testing::HasSubstr("lists every key"));
}

TEST_F(Config, WrongTypesRangesAndChoicesAreErrors) {
  for (const auto& [key, text] : std::vector<std::pair<std::string, std::string>>{{"part.depth", "1.5"},
                                                                                  {"part.depth", "-1"},
                                                                                  {"part.depth", "many"},
                                                                                  {"part.flag", "1"},
                                                                                  {"part.ratio", "1.01"},
                                                                                  {"part.ratio", "nan"},
                                                                                  {"part.scale", "[\"a\"]"},
                                                                                  {"part.counts", "[0.5]"}})
    EXPECT_NE(error_of(key, text), "") << key << "=" << text;
  EXPECT_THAT(error_of("part.encoder.pool", "tokn"), ::testing::HasSubstr("did you mean 'token'?"));
  EXPECT_EQ(outer.depth, 12);
  EXPECT_EQ(outer.ratio, 0.75);
}

TEST_F(Config, DefaultsOfAMethodDoNotCountAsSet) {
  table.set_default("part.depth", "4");
  EXPECT_EQ(outer.depth, 4);
  EXPECT_FALSE(table.is_set("part.depth"));
  EXPECT_EQ(table.default_of("part.depth"), 4);
  table.set("part.depth", 5, "recipe");
  EXPECT_TRUE(table.is_set("part.depth"));
}

TEST(Toml, BrokenTextNamesLineAndColumn) {
  try {
    parse_toml("a = 1\nb = = 2\n", "x.toml");
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("x.toml: not valid TOML at line 2"));
  }
}

TEST_F(Config, MutatedTextGivesAResultOrAnError) {
  const std::string good =
      "title = \"a\"\n[part]\nflag = true\nratio = 0.5\nscale = [1e-3, inf]\nwords = ['x', \"\\u00e9\"]\n"
      "encoder = { img_size = [64, 128], pool = \"avg\" }\nwhen = 1979-05-27T07:32:00Z\n";
  io::survive_mutations(good, 3000, [&](const std::string& text) {
    for (const auto& [key, value] : leaves(parse_toml(text, "x")))
      if (table.has(key)) table.set(key, value, "x");
  });
  for (const auto& field : table.fields())
    io::survive_mutations("[[1, 2.5], \"64x96\", true]", 300,
                          [&](const std::string& text) { table.set_text(field.key, text, "x"); });
  EXPECT_EQ(parse_toml(table.to_toml(), "config.toml"), table.to_json());
}

}  // namespace
}  // namespace lacuna
