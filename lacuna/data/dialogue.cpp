#include "lacuna/data/dialogue.h"

#include <algorithm>

namespace lacuna::data {
namespace {

DialogueRow plain_row(const Exchange& exchange, const DialogueRules& rules) {
  DialogueRow row;
  row.tokens = exchange.prompt;
  row.tokens.insert(row.tokens.end(), exchange.answer.begin(), exchange.answer.end());
  row.labels.assign(exchange.prompt.size(), -1);
  row.labels.insert(row.labels.end(), exchange.answer.begin(), exchange.answer.end());
  row.tokens.push_back(rules.end_id);
  row.labels.push_back(rules.end_id);
  const auto most = static_cast<size_t>(rules.max_length);
  if (row.tokens.size() > most) {
    row.tokens.resize(most);
    row.tokens.back() = rules.end_id;
    row.labels.resize(most);
  }
  return row;
}

DialogueRow masked_row(const Exchange& exchange, const DialogueRules& rules, const ChoosePositions& choose) {
  DialogueRow row;
  const auto begin = static_cast<int64_t>(exchange.prompt.size());
  const int64_t end = std::min(begin + static_cast<int64_t>(exchange.answer.size()), rules.max_length - 1);
  if (end <= begin) return row;
  row.tokens = exchange.prompt;
  row.tokens.insert(row.tokens.end(), exchange.answer.begin(), exchange.answer.begin() + (end - begin));
  row.labels.assign(row.tokens.size() + 1, -1);
  const auto count =
      std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(end - begin) * rules.ratio));
  for (const int64_t at : choose(begin, end, std::min(count, end - begin))) {
    const auto place = static_cast<size_t>(at);
    row.labels[place] = row.tokens[place];
    row.tokens[place] = rules.mask_id;
  }
  row.tokens.push_back(rules.end_id);
  return row;
}

}  // namespace

std::vector<DialogueRow> dialogue_rows(const std::vector<Exchange>& exchanges, const DialogueRules& rules,
                                       const ChoosePositions& choose) {
  auto all = exchanges;
  if (rules.add_begin && !all.empty()) all.front().prompt.insert(all.front().prompt.begin(), rules.begin_id);
  std::vector<DialogueRow> out;
  for (const auto& exchange : all) out.push_back(plain_row(exchange, rules));
  for (const auto& exchange : all)
    if (rules.ratio > 0 && static_cast<int64_t>(exchange.answer.size()) >= rules.min_answer)
      out.push_back(masked_row(exchange, rules, choose));
  std::erase_if(out, [](const DialogueRow& row) {
    return std::all_of(row.labels.begin(), row.labels.end(), [](int32_t label) { return label < 0; });
  });
  return out;
}

}  // namespace lacuna::data
