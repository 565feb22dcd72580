// lacuna tokenizer train|encode|decode|info.

#include <algorithm>
#include <cmath>
#include <iostream>
#include <iterator>
#include <sstream>

#include "lacuna/cli/command.h"
#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/data/parallel.h"
#include "lacuna/data/tokens.h"
#include "lacuna/text/train_bpe.h"
#include "lacuna/train/signals.h"

namespace lacuna::cli {
namespace {

struct Options {
  std::string job, data, out, tokenizer = "bytes";
  std::vector<std::string> words;
  text::BpeTraining training;
  int64_t workers = 2;
  bool framed = false, special = false, lines = false;
  Output output;
};

text::WordCounts count_all(const Options& options) {
  const auto source = data::text_source(data::open_dataset(options.data, "train"));
  text::WordCounts all;
  std::vector<data::TextPiece> pieces;
  while (source(pieces)) {
    if (train::SignalGuard::requested()) throw Interrupted("stopped; nothing was written");
    std::vector<text::WordCounts> counts(static_cast<size_t>(options.workers));
    data::parallel(options.workers, options.workers, [&](int64_t worker) {
      for (size_t i = static_cast<size_t>(worker); i < pieces.size();
           i += static_cast<size_t>(options.workers))
        text::count_words(pieces[i].text, counts[static_cast<size_t>(worker)]);
    });
    for (const auto& part : counts)
      for (const auto& [word, count] : part) all[word] += count;
  }
  return all;
}

void train(Options& options) {
  if (options.data.empty()) fail("tokenizer train", "needs texts", "give --data text:DIR");
  if (options.out.empty()) fail("tokenizer train", "needs a place", "give --out tokenizer.json");
  const train::SignalGuard signals;
  const double begun = log::monotonic_seconds();
  const auto words = count_all(options);
  const auto document = text::train_bpe(words, options.training);
  io::write_atomically(options.out, document.dump(1) + "\n");
  const auto size = document.at("model").at("vocab").size();
  const double seconds = log::monotonic_seconds() - begun;
  options.output.print(
      {{"file", options.out}, {"vocab_size", size}, {"words", words.size()}, {"seconds", seconds}},
      str(options.out, ": ", size, " tokens from ", words.size(), " different words; ",
          std::round(seconds * 10) / 10, " s"));
  if (static_cast<int64_t>(size) < options.training.vocab_size)
    log::warn(str("the texts hold no more pairs that occur ", options.training.min_frequency,
                  " times: ", size, " of ", options.training.vocab_size, " tokens"));
}

/// The words of the command line, or what comes in.
std::string given(const Options& options) {
  if (!options.words.empty()) return join(options.words, " ");
  return {std::istreambuf_iterator<char>(std::cin), {}};
}

void encode(Options& options) {
  const auto tokenizer = text::open_tokenizer(options.tokenizer);
  const auto ids = tokenizer->encode(given(options), options.framed);
  std::vector<std::string> pieces;
  std::string numbers;
  for (const auto id : ids) {
    numbers += str(numbers.empty() ? "" : " ", id);
    pieces.push_back(tokenizer->decode(std::span(&id, 1), true));
  }
  options.output.print({{"ids", ids}, {"pieces", pieces}}, numbers);
}

void decode(Options& options) {
  const auto tokenizer = text::open_tokenizer(options.tokenizer);
  std::istringstream words(given(options));
  text::Ids ids;
  for (std::string word; words >> word;) {
    const bool number = !word.empty() && word.size() < 10 && std::all_of(word.begin(), word.end(), ::isdigit);
    if (!number)
      fail("'" + word.substr(0, 40) + "'", "is no token's number", "give numbers with blanks between them");
    ids.push_back(std::stoi(word));
  }
  const auto text = tokenizer->decode(ids, options.special);
  options.output.print({{"text", text}}, text);
}

/// One JSON document a line: texts to {"ids"}, lists of numbers to {"text"}.
void convert_lines(const Options& options) {
  const auto tokenizer = text::open_tokenizer(options.tokenizer);
  int64_t number = 0;
  for (std::string line; std::getline(std::cin, line);) {
    const auto document = nlohmann::json::parse(line, nullptr, false);
    ++number;
    nlohmann::json out;
    if (options.job == "encode" && document.is_string()) {
      out["ids"] = tokenizer->encode(document.get<std::string>(), options.framed);
    } else if (options.job == "decode" && document.is_array()) {
      text::Ids ids;
      for (const auto& id : document) ids.push_back(id.is_number_integer() ? id.get<int32_t>() : -1);
      out["text"] = tokenizer->decode(ids, options.special);
    } else {
      fail(str("line ", number), options.job == "encode" ? "is no JSON string" : "is no JSON list of numbers",
           "write one a line");
    }
    std::cout << out.dump() << '\n';
  }
}

void describe(Options& options) {
  const auto tokenizer = text::open_tokenizer(options.tokenizer);
  const auto special = tokenizer->special();
  nlohmann::json named = nlohmann::json::object();
  std::string text = tokenizer->kind();
  for (const auto& [name, id] : {std::pair{"unknown", special.unknown},
                                 {"begin", special.begin},
                                 {"end", special.end},
                                 {"pad", special.pad},
                                 {"mask", special.mask}}) {
    if (!id) continue;
    named[name] = *id;
    text += str("\n", name, " ", *id, " ", tokenizer->piece(*id));
  }
  options.output.print(
      {{"kind", tokenizer->kind()}, {"vocab_size", tokenizer->vocab_size()}, {"special", named}}, text);
}

void run(Options& options) {
  if (options.output.json) log::reserve_stdout();
  if (options.job == "train") return train(options);
  if (options.lines && options.job != "info") return convert_lines(options);
  if (options.job == "encode") return encode(options);
  if (options.job == "decode") return decode(options);
  describe(options);
}

const Register<Command> registered{
    "tokenizer",
    {"train a vocabulary; texts to tokens and back", [](CLI::App& app) {
       auto options = std::make_shared<Options>();
       app.add_option("job", options->job, "train, encode, decode or info")
           ->required()
           ->check(CLI::IsMember({"train", "encode", "decode", "info"}));
       app.add_option("words", options->words, "encode: a text; decode: numbers; else what comes in is read");
       app.add_option("--tokenizer", options->tokenizer,
                      "tokenizer.json, sentencepiece *.model, CLIP's merges, a folder with one, or bytes");
       app.add_flag("--framed", options->framed,
                    "encode: with the tokens that the tokenizer puts around a text");
       app.add_flag("--special", options->special, "decode: with the special tokens");
       app.add_flag(
           "--lines", options->lines,
           "encode, decode: what comes in is JSON, a text or a list of numbers a line; so is what comes out");
       app.add_option("--data", options->data, "train: data URI or path of texts");
       app.add_option("--out", options->out, "train: the tokenizer.json to write");
       app.add_option("--vocab-size", options->training.vocab_size,
                      "train: tokens, special ones and bytes included")
           ->check(CLI::Range(256, 1 << 24));
       app.add_option("--min-frequency", options->training.min_frequency, "train: rarer pairs are not joined")
           ->check(CLI::PositiveNumber);
       app.add_option("--special-tokens", options->training.special, "train: tokens 0, 1, ...");
       app.add_option("--workers", options->workers, "threads")->check(CLI::Range(1, 1024));
       options->output.add_to(app);
       return [options] { run(*options); };
     }}};

}  // namespace
}  // namespace lacuna::cli
