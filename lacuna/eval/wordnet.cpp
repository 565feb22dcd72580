#include "lacuna/eval/wordnet.h"

#include <algorithm>
#include <deque>
#include <sstream>

#include "lacuna/core/error.h"

namespace lacuna::eval {

namespace {

constexpr size_t kDigits = 8;

bool is_number(const std::string& text) {
  return text.size() == kDigits + 1 && text[0] == 'n' &&
         std::all_of(text.begin() + 1, text.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

/// wndb(5WN): offset, file, type, words in hex, (word, id)..., pointers, (symbol, offset, type, ends)...
std::vector<std::string> hypernyms_of(std::istringstream& line) {
  std::string file, type, words, skipped, symbol, offset, part;
  line >> file >> type >> words;
  const auto count = std::stoul(words, nullptr, 16);
  for (size_t i = 0; i < 2 * count; ++i) line >> skipped;
  size_t pointers = 0;
  line >> pointers;
  std::vector<std::string> out;
  for (size_t i = 0; i < pointers && line >> symbol >> offset >> part >> skipped; ++i)
    if ((symbol == "@" || symbol == "@i") && part == "n") out.push_back(offset);
  return out;
}

}  // namespace

WordNet::WordNet(const io::fs::path& folder) : file_(folder / "data.noun") {
  if (!io::fs::exists(file_))
    fail(file_.string(), "is not there",
         "name WordNet's folder in explain.wordnet (Debian: wordnet-base, /usr/share/wordnet)");
  std::istringstream lines(io::read_file(file_));
  for (std::string line; std::getline(lines, line);) {
    if (line.size() <= kDigits || line[0] == ' ') continue;  // the licence
    std::istringstream fields(line);
    std::string offset;
    fields >> offset;
    try {
      hypernyms_[offset] = hypernyms_of(fields);
    } catch (const std::exception&) {
      fail(file_.string(), str("synset ", offset, " can't be read"), "use WordNet 3.0's data.noun");
    }
  }
}

std::map<std::string, int64_t> WordNet::ancestors(const std::string& synset) const {
  std::map<std::string, int64_t> steps{{synset, 0}};
  for (std::deque<std::string> next{synset}; !next.empty(); next.pop_front()) {
    const auto found = hypernyms_.find(next.front());
    if (found == hypernyms_.end()) continue;
    for (const auto& parent : found->second)
      if (steps.emplace(parent, steps.at(next.front()) + 1).second) next.push_back(parent);
  }
  return steps;
}

double WordNet::path_similarity(const std::string& a, const std::string& b) const {
  for (const auto& name : {a, b})
    if (!is_number(name) || !hypernyms_.count(name.substr(1)))
      fail("WordNet number '" + name + "'", str("is no noun of ", file_.string()),
           "write it as ImageNet does: n01440764");
  const auto up = ancestors(a.substr(1)), other = ancestors(b.substr(1));
  int64_t shortest = -1;
  for (const auto& [synset, steps] : up) {
    const auto found = other.find(synset);
    if (found != other.end() && (shortest < 0 || steps + found->second < shortest))
      shortest = steps + found->second;
  }
  return shortest < 0 ? 0 : 1 / static_cast<double>(1 + shortest);
}

std::vector<std::string> synsets_of(const std::vector<std::string>& classes,
                                    const std::vector<std::string>& given) {
  if (!given.empty() && given.size() != classes.size())
    fail("explain.synsets", str(given.size(), " numbers for ", classes.size(), " classes"),
         "give one for each class, in their order");
  auto out = given.empty() ? classes : given;
  for (auto& name : out) {
    const auto number = name.substr(0, name.find(' '));
    if (!is_number(number))
      fail("class '" + name + "'", "is no WordNet number",
           "give them all: explain.synsets=[\"n01440764\", ...]");
    name = number;
  }
  return out;
}

}  // namespace lacuna::eval
