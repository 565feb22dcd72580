#pragma once
// Dialogues in JSON lines, as the usual sets for fine-tuning write them.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lacuna/data/dialogue.h"
#include "lacuna/data/text.h"

namespace lacuna::data {

/// A prompt and its answer as texts.
struct SpokenExchange {
  std::string prompt, answer;
};

/// Whether a line is a dialogue: {"messages": [{"role", "content"}]}, {"conversations": [{"from", "value"}]},
/// {"instruction", "input", "output"} or {"prompt", "completion" | "response" | "answer"}.
bool is_dialogue(std::string_view line);
/// Its exchanges; what the system says stands in front of the first prompt. Error naming `key` when it has
/// none.
std::vector<SpokenExchange> read_dialogue(std::string_view line, const std::string& key);
/// All turns one below the other.
std::string dialogue_text(std::string_view line, const std::string& key);

/// The rows of all dialogues, by the rules of MEAP's fine-tuning; positions are drawn by the row's number.
/// Rows are of at most `length` tokens. Error when no row has a label.
std::shared_ptr<Dataset> dialogue_dataset(std::shared_ptr<Dataset> whole, const TextConfig& config,
                                          int64_t length, int32_t mask, uint64_t seed);

}  // namespace lacuna::data
