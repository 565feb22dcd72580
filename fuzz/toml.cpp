// A document, and each key set from text. Whatever was taken is written as TOML and must read as the same.

#include "fuzz/fuzz.h"
#include "lacuna/core/config.h"

using namespace lacuna;

namespace {

struct Part {
  bool flag = true;
  int64_t depth = 12;
  double ratio = 0.75;
  std::string word = "a", choice = "avg";
  Size2 size{224, 224};
  std::vector<double> scale{0.2, 1.0};
  std::vector<int64_t> counts{1};
  std::vector<std::string> words{"a", "b"};
  void fields(Fields& f) {
    f("flag", flag, "a switch");
    f("depth", depth, "blocks").range(0);
    f("ratio", ratio, "share hidden").range(0, 1);
    f("word", word, "any word");
    f("choice", choice, "one of two").choices({"avg", "token"});
    f("size", size, "height and width").range(1);
    f("scale", scale, "two areas");
    f("counts", counts, "whole numbers");
    f("words", words, "words");
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(fuzz::text_of(data, size));
  Part part;
  ConfigTable table;
  table.add("part", part);
  fuzz::expect_answer([&] { table.merge(parse_toml(text, "x.toml"), "x.toml"); });
  fuzz::expect_answer([&] { table.set_assignment(text, "--set"); });
  for (const auto& field : table.fields())
    fuzz::expect_answer([&] { table.set_text(field.key, text, "--set"); });
  fuzz::expect(parse_toml(table.to_toml(), "config.toml") == table.to_json());
  return 0;
}
