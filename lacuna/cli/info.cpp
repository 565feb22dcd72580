// lacuna info NAME

#include "lacuna/cli/command.h"
#include "lacuna/eval/explain.h"
#include "lacuna/train/describe.h"

namespace lacuna::cli {
namespace {

std::string padded(const std::string& text, size_t width) {
  return text + std::string(text.size() < width ? width - text.size() : 1, ' ');
}

std::string to_text(const Json& info) {
  const auto word = [&info](const char* key) { return info.at(key).get<std::string>(); };
  std::string out = str(word("name"), ": ", word("title"), "\n", word("paper"),
                        "\nofficial code: ", word("code"), "\n\n", word("summary"), "\n");
  for (const auto& part : info.at("parts")) out += "  " + part.get<std::string>() + "\n";
  out += "\n" + padded("key", 28) + padded("type", 17) + padded("default", 24) + "meaning";
  for (const auto& key : info.at("config")) {
    out +=
        str("\n", padded(key.at("key").get<std::string>(), 28), padded(key.at("type").get<std::string>(), 17),
            padded(key.at("default").dump(), 24), key.at("meaning").get<std::string>());
    if (key.contains("choices"))
      out += " (" + join(key.at("choices").get<std::vector<std::string>>(), " | ") + ")";
  }
  return out;
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
