// lacuna completion bash|zsh|fish: what the shell offers after TAB, made from the program's own commands and
// names.

#include <iostream>

#include "lacuna/cli/command.h"
#include "lacuna/cli/places.h"
#include "lacuna/eval/protocol.h"
#include "lacuna/method/method.h"

namespace lacuna::cli {
namespace {

using Words = std::vector<std::string>;

struct Flag {
  Words names;  ///< "--data", "-h"
  std::string help;
  bool takes_value = false;
};

struct Completed {
  std::string name, summary;
  std::vector<Flag> flags;
  Words words;        ///< names that its arguments may be
  bool files = true;  ///< they may be files too
};

Words shells() { return {"bash", "fish", "zsh"}; }

bool takes_files(const std::string& command) {
  return command != "completion" && command != "info" && command != "list";
}

/// The names that a command's arguments may be.
Words words_of(const std::string& command) {
  if (command == "completion") return shells();
  if (command == "list") return {"datasets", "encoders", "evals", "methods", "recipes"};
  if (command == "data") return {"pack", "tokenize"};
  if (command == "tokenizer") return {"train", "encode", "decode", "info"};
  if (command == "eval") return Registry<eval::Protocol>::instance().names();
  if (command != "info" && command != "pretrain") return {};
  auto words = Registry<MethodInfo>::instance().names();
  if (command == "pretrain")
    for (const auto& path : recipe_files()) words.push_back(path.string());
  return words;
}

std::vector<Completed> commands_of(const CLI::App& app) {
  std::vector<Completed> out;
  for (const auto* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
    Completed command{
        sub->get_name(), sub->get_description(), {}, words_of(sub->get_name()), takes_files(sub->get_name())};
    for (const auto* option : sub->get_options()) {
      if (!option->nonpositional()) continue;
      Flag flag{{}, option->get_description(), option->get_items_expected_max() > 0};
      for (const auto& name : option->get_lnames()) flag.names.push_back("--" + name);
      for (const auto& name : option->get_snames()) flag.names.push_back("-" + name);
      command.flags.push_back(std::move(flag));
    }
    out.push_back(std::move(command));
  }
  return out;
}

/// `text` with a backslash before each of `special`.
std::string escaped(const std::string& text, const std::string& special) {
  std::string out;
  for (const char c : text) {
    if (special.find(c) != std::string::npos) out += '\\';
    out += c;
  }
  return out;
}
/// In single quotes for bash and zsh.
std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}
std::string fish_quoted(const std::string& text) { return "'" + escaped(text, "'\\") + "'"; }

template <class Use>
Words flags_of(const Completed& command, Use use) {
  Words out;
  for (const auto& flag : command.flags)
    if (use(flag)) out.insert(out.end(), flag.names.begin(), flag.names.end());
  return out;
}

std::string bash_script(const std::vector<Completed>& commands) {
  std::ostringstream out;
  Words names;
  for (const auto& command : commands) names.push_back(command.name);
  out << "_lacuna() {\n"
         "  local IFS=$'\\n' current=\"${COMP_WORDS[COMP_CWORD]}\" words='' flags='' valued='' files=''\n"
         "  COMPREPLY=()\n"
         "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
         "    COMPREPLY=($(compgen -W "
      << quoted(join(names, "\n"))
      << " -- \"$current\"))\n"
         "    return\n"
         "  fi\n"
         "  case \"${COMP_WORDS[1]}\" in\n";
  for (const auto& command : commands)
    out << "    " << command.name << ")\n      words=" << quoted(join(command.words, "\n"))
        << "\n      flags=" << quoted(join(flags_of(command, [](const Flag&) { return true; }), "\n"))
        << "\n      valued="
        << quoted(" " + join(flags_of(command, [](const Flag& flag) { return flag.takes_value; }), " ") + " ")
        << "\n      files=" << (command.files ? "1" : "''") << " ;;\n";
  out << "  esac\n"
         "  case \"$valued\" in *\" ${COMP_WORDS[COMP_CWORD-1]} \"*) words='' files=1 ;; esac\n"
         "  case \"$current\" in -*) COMPREPLY=($(compgen -W \"$flags\" -- \"$current\")); return ;; esac\n"
         "  COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
         "  [ -z \"$files\" ] || COMPREPLY+=($(compgen -f -- \"$current\"))\n"
         "}\n"
         "complete -o filenames -F _lacuna lacuna\n";
  return out.str();
}

std::string zsh_script(const std::vector<Completed>& commands) {
  std::ostringstream out;
  out << "#compdef lacuna\n"
         "_lacuna() {\n"
         "  local -a commands\n"
         "  commands=(\n";
  for (const auto& command : commands)
    out << "    " << quoted(escaped(command.name, ":") + ":" + command.summary) << "\n";
  out << "  )\n"
         "  if (( CURRENT == 2 )); then _describe command commands; return; fi\n"
         "  case $words[2] in\n";
  for (const auto& command : commands) {
    out << "    " << command.name << ")\n      _arguments '1:command:'";
    for (const auto& flag : command.flags)
      for (const auto& name : flag.names)
        out << " \\\n        "
            << quoted(name + (flag.takes_value ? name.starts_with("--") ? "=" : "+" : "") + "[" +
                      escaped(flag.help, "[]:\\") + "]" + (flag.takes_value ? ":value:_files" : ""));
    Words words;
    for (const auto& word : command.words) words.push_back(escaped(word, " ()\"\\"));
    std::string listed = words.empty() ? "" : "\"names:name:(" + join(words, " ") + ")\" ";
    if (command.files) listed += "\"files:file:_files\" ";
    out << " \\\n        " << quoted("*:argument:{ _alternative " + listed + "}") << "\n      ;;\n";
  }
  out << "  esac\n"
         "}\n"
         "if [ \"$funcstack[1]\" = _lacuna ]; then _lacuna \"$@\"; else compdef _lacuna lacuna; fi\n";
  return out.str();
}

std::string fish_script(const std::vector<Completed>& commands) {
  std::ostringstream out;
  for (const auto& command : commands) {
    out << "complete -c lacuna -n __fish_use_subcommand -f -a " << command.name << " -d "
        << fish_quoted(command.summary) << "\n";
    const std::string here = "complete -c lacuna -n '__fish_seen_subcommand_from " + command.name + "'";
    if (!command.files) out << here << " -f\n";
    for (const auto& flag : command.flags) {
      out << here;
      for (const auto& name : flag.names)
        out << (name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1));
      out << (flag.takes_value ? " -r" : "") << " -d " << fish_quoted(flag.help) << "\n";
    }
    for (const auto& word : command.words) out << here << " -a " << fish_quoted(escaped(word, " ")) << "\n";
  }
  return out.str();
}

std::string script_for(const std::string& shell, const CLI::App& app) {
  const auto commands = commands_of(app);
  if (shell == "bash") return bash_script(commands);
  if (shell == "zsh") return zsh_script(commands);
  if (shell == "fish") return fish_script(commands);
  fail("completion '" + shell + "'", "unknown shell", "give one of " + join(shells()));
}

const Register<Command> registered{
    "completion", {"a script that completes commands and names in a shell", [](CLI::App& app) {
                     auto shell = std::make_shared<std::string>();
                     app.add_option("shell", *shell, "bash, zsh or fish")->required();
                     app.footer(
                         "bash:  lacuna completion bash > ~/.local/share/bash-completion/completions/lacuna\n"
                         "zsh:   lacuna completion zsh > DIR/_lacuna, DIR being in $fpath\n"
                         "fish:  lacuna completion fish > ~/.config/fish/completions/lacuna.fish");
                     return [shell, &app] { std::cout << script_for(*shell, *app.get_parent()); };
                   }}};

}  // namespace
}  // namespace lacuna::cli
