#pragma once
// Texts in which keys have codes, drawn by the program: what is said once must be found again.

#include <string>
#include <vector>

#include "lacuna/core/draws.h"

namespace lacuna::data {

/// A thing and its code.
struct Fact {
  std::string key;   ///< "red lamp"
  std::string code;  ///< digits
};
/// A fact with a code of `digits` digits.
Fact draw_fact(int64_t digits, Stream& random);
std::string fact_sentence(const Fact& fact);        ///< "The code of the red lamp is 482.\n"
std::string fact_question(const std::string& key);  ///< "What is the code of the red lamp? The code is "
/// A sentence that says nothing of codes, with its line end.
std::string draw_filler(Stream& random);

/// Fillers with `facts` facts at random places among them and a question for one of them, with its answer, at
/// the end: about `characters` long. `fillers`: lines to take runs of instead of drawn sentences; empty:
/// drawn.
std::string draw_facts_text(int64_t characters, int64_t facts, int64_t digits,
                            const std::vector<std::string>& fillers, Stream random);

/// The lines of a text that are not blank, each with its line end.
std::vector<std::string> filler_lines(const std::string& text);

}  // namespace lacuna::data
