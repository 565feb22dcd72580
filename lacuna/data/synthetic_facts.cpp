#include "lacuna/data/synthetic_facts.h"

#include <algorithm>
#include <array>
#include <set>
#include <sstream>

namespace lacuna::data {
namespace {

constexpr std::array kColours{"red",  "green", "blue",  "white", "black", "grey", "brown", "golden",
                              "pale", "dark",  "small", "old",   "heavy", "long", "round", "broken"};
constexpr std::array kThings{"lamp", "door",  "ship", "tower", "wheel", "chair", "bridge", "clock",
                             "coat", "stone", "bell", "horse", "glass", "river", "garden", "letter"};
constexpr std::array kPeople{"the miller", "a sailor", "her brother", "the doctor", "my aunt", "the clerk"};
constexpr std::array kActs{"walked past", "looked at", "wrote about", "forgot",
                           "sold",        "painted",   "heard of",    "liked"};
constexpr std::array kTimes{"in the morning", "at night",        "last week",
                            "in spring",      "after the storm", "every day"};

template <class Words>
const char* pick(const Words& words, Stream& random) {
  return words[static_cast<size_t>(random.below(std::ssize(words)))];
}

std::string draw_key(Stream& random) {
  return std::string(pick(kColours, random)) + " " + pick(kThings, random);
}

}  // namespace

Fact draw_fact(int64_t digits, Stream& random) {
  Fact fact{draw_key(random), ""};
  for (int64_t i = 0; i < digits; ++i) fact.code += static_cast<char>('0' + random.below(10));
  return fact;
}

std::string fact_sentence(const Fact& fact) {
  return "The code of the " + fact.key + " is " + fact.code + ".\n";
}

std::string fact_question(const std::string& key) {
  return "What is the code of the " + key + "? The code is ";
}

std::string draw_filler(Stream& random) {
  std::string out = std::string(pick(kPeople, random)) + " " + pick(kActs, random) + " the " +
                    draw_key(random) + " " + pick(kTimes, random) + ".\n";
  out[0] = static_cast<char>(out[0] - 'a' + 'A');
  return out;
}

std::string draw_facts_text(int64_t characters, int64_t facts, int64_t digits,
                            const std::vector<std::string>& fillers, Stream random) {
  std::vector<std::string> lines;
  std::set<std::string> keys;
  std::vector<Fact> all;
  while (std::ssize(all) < facts) {
    auto fact = draw_fact(digits, random);
    if (keys.insert(fact.key).second) all.push_back(fact);
  }
  int64_t used = 0;
  for (const auto& fact : all) used += std::ssize(fact_sentence(fact));
  const auto& asked = all[static_cast<size_t>(random.below(facts))];
  const auto end = fact_question(asked.key) + asked.code + ".\n";
  used += std::ssize(end);
  auto next = fillers.empty() ? 0 : random.below(std::ssize(fillers));
  for (;;) {
    auto line =
        fillers.empty() ? draw_filler(random) : fillers[static_cast<size_t>(next++ % std::ssize(fillers))];
    if (used + std::ssize(line) > characters) break;
    used += std::ssize(line);
    lines.push_back(std::move(line));
  }
  for (const auto& fact : all)
    lines.insert(lines.begin() + random.below(std::ssize(lines) + 1), fact_sentence(fact));
  std::string out;
  for (const auto& line : lines) out += line;
  return out + end;
}

std::vector<std::string> filler_lines(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    if (line.find_first_not_of(" \t\r") != std::string::npos) out.push_back(line + "\n");
  return out;
}

}  // namespace lacuna::data
