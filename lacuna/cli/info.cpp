// lacuna info NAME

#include <algorithm>
#include <array>

#include "lacuna/cli/command.h"
#include "lacuna/eval/explain.h"
#include "lacuna/train/describe.h"

namespace lacuna::cli {
namespace {

// Beyond it a value pushes its meaning aside instead of all others.
constexpr size_t kWidest = 34;

std::string padded(const std::string& text, size_t width) {
  return text + std::string(text.size() < width ? width - text.size() : 1, ' ');
}

using Row = std::array<std::string, 4>;  // key, type, default, meaning

std::string aligned(const std::vector<Row>& rows) {
  std::array<size_t, 3> widths{};
  for (const auto& row : rows)
    for (size_t i = 0; i < widths.size(); ++i)
      widths[i] = std::max(widths[i], std::min(row[i].size(), kWidest) + 2);
  std::string out;
  for (const auto& row : rows) {
    out += "\n";
    for (size_t i = 0; i < widths.size(); ++i) out += padded(row[i], widths[i]);
    out += row.back();
  }
  return out;
}

std::string to_text(const Json& info) {
  const auto word = [&info](const char* key) { return info.at(key).get<std::string>(); };
  std::string out = str(word("name"), ": ", word("title"), "\n", word("paper"),
                        "\nofficial code: ", word("code"), "\n\n", word("summary"), "\n");
  for (const auto& part : info.at("parts")) out += "  " + part.get<std::string>() + "\n";
  std::vector<Row> rows{{"key", "type", "default", "meaning"}};
  for (const auto& key : info.at("config")) {
    auto meaning = key.at("meaning").get<std::string>();
    if (key.contains("choices"))
      meaning += " (" + join(key.at("choices").get<std::vector<std::string>>(), " | ") + ")";
    rows.push_back({key.at("key").get<std::string>(), key.at("type").get<std::string>(),
                    key.at("default").dump(), std::move(meaning)});
  }
  return out + aligned(rows);
}

void info(const std::string& name, const Output& output) {
  const auto* explainer = Registry<eval::Explainer>::instance().find(name);
  const auto description =
      explainer ? eval::describe(name, *explainer) : train::describe(train::RunConfig(name));
  output.print(description, to_text(description));
}

const Register<Command> registered{"info",
                                   {"a method's paper, parts and every config key", [](CLI::App& app) {
                                      auto name = std::make_shared<std::string>();
                                      auto output = std::make_shared<Output>();
                                      app.add_option("name", *name, "a method or an explainer")->required();
                                      output->add_to(app);
                                      return [name, output] { info(*name, *output); };
                                    }}};

}  // namespace
}  // namespace lacuna::cli
