#include "lacuna/data/dialogue_files.h"

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "lacuna/core/error.h"
#include "lacuna/data/text.h"

namespace lacuna::data {
namespace {

using nlohmann::json;

/// The list of turns of a chat, or null.
const json* turns_of(const json& document) {
  for (const char* key : {"messages", "conversations"})
    if (const auto found = document.find(key); found != document.end() && found->is_array()) return &*found;
  return nullptr;
}

std::string text_of(const json& object, std::initializer_list<const char*> keys) {
  for (const char* key : keys)
    if (const auto found = object.find(key); found != object.end() && found->is_string())
      return found->get<std::string>();
  return "";
}

bool has_text(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string();
}

bool is_pair(const json& document) {
  const bool asked = has_text(document, "instruction") || has_text(document, "prompt");
  return asked && (has_text(document, "output") || has_text(document, "completion") ||
                   has_text(document, "response") || has_text(document, "answer"));
}

std::vector<SpokenExchange> exchanges_of(const json& turns) {
  std::vector<SpokenExchange> out;
  std::string before;  // what was said since the last answer
  for (const auto& turn : turns) {
    const auto role = text_of(turn, {"role", "from"}), said = text_of(turn, {"content", "value"});
    if (role == "assistant" || role == "gpt" || role == "model") {
      out.push_back({before, said});
      before.clear();
    } else {
      before += (before.empty() ? "" : "\n\n") + said;
    }
  }
  return out;
}

/// What a prompt is put into.
SpokenExchange framed(const SpokenExchange& plain, const std::string& format) {
  if (format == "chatml")
    return {"<|im_start|>user\n" + plain.prompt + "<|im_end|>\n<|im_start|>assistant\n",
            plain.answer + "<|im_end|>"};
  if (format == "llama3") {
    const auto head = [](const char* role) {
      return str("<|start_header_id|>", role, "<|end_header_id|>\n\n");
    };
    return {head("user") + plain.prompt + "<|eot_id|>" + head("assistant"), plain.answer + "<|eot_id|>"};
  }
  return {plain.prompt + "\n", plain.answer};
}

class DialogueRows final : public Dataset {
 public:
  DialogueRows(std::vector<DialogueRow> rows, std::string uri)
      : rows_(std::move(rows)), uri_(std::move(uri)) {}
  int64_t size() const override { return std::ssize(rows_); }
  Record get(int64_t index) const override {
    const auto& row = rows_[static_cast<size_t>(index)];
    Record record;
    record.key = str(uri_, "#row", index);
    record.tokens = std::make_shared<const std::vector<int32_t>>(row.tokens);
    record.token_labels = std::make_shared<const std::vector<int32_t>>(row.labels);
    return record;
  }
  int64_t label(int64_t /*index*/) const override { return kNoLabel; }
  std::vector<std::string> classes() const override { return {}; }
  std::string uri() const override { return uri_; }
  std::string modality() const override { return "text"; }

 private:
  std::vector<DialogueRow> rows_;
  std::string uri_;
};

}  // namespace

bool is_dialogue(std::string_view line) {
  const auto document = json::parse(line, nullptr, false);
  return document.is_object() && (turns_of(document) != nullptr || is_pair(document));
}

std::vector<SpokenExchange> read_dialogue(std::string_view line, const std::string& key) {
  const auto document = json::parse(line, nullptr, false);
  std::vector<SpokenExchange> out;
  if (document.is_object()) {
    if (const auto* turns = turns_of(document)) {
      out = exchanges_of(*turns);
    } else if (is_pair(document)) {
      const auto more = text_of(document, {"input"});
      out.push_back({text_of(document, {"instruction", "prompt"}) + (more.empty() ? "" : "\n\n" + more),
                     text_of(document, {"output", "completion", "response", "answer"})});
    }
  }
  if (out.empty())
    fail(key, "is no dialogue with an answer",
         "write {\"messages\": [...]}, {\"instruction\", \"input\", \"output\"} or {\"prompt\", "
         "\"completion\"} a line");
  return out;
}

std::string dialogue_text(std::string_view line, const std::string& key) {
  std::string out;
  for (const auto& exchange : read_dialogue(line, key))
    out += exchange.prompt + "\n" + exchange.answer + "\n";
  return out;
}

std::shared_ptr<Dataset> dialogue_dataset(std::shared_ptr<Dataset> whole, const TextConfig& config,
                                          int64_t length, int32_t mask, uint64_t seed) {
  const auto* texts = dynamic_cast<const TextDataset*>(whole.get());
  if (texts == nullptr)
    fail(whole->uri(), "holds no dialogues", "give text:FILE.jsonl, or use text.rows=blocks");
  const auto tokenizer = tokenizer_of(config);
  const auto special = tokenizer->special();
  if (!special.end)
    fail(config.tokenizer, "has no token for the end of a text", "use a tokenizer with </s> or another");
  const DialogueRules rules{.max_length = length,
                            .min_answer = config.dialogue_min_answer,
                            .ratio = config.dialogue_ratio,
                            .begin_id = special.begin.value_or(0),
                            .end_id = *special.end,
                            .mask_id = mask,
                            .add_begin = config.add_begin && special.begin.has_value()};
  std::vector<DialogueRow> rows;
  for (int64_t i = 0; i < texts->size(); ++i) {
    std::vector<Exchange> exchanges;
    for (const auto& said : read_dialogue(texts->raw(i), texts->key(i))) {
      const auto with_frame = framed(said, config.dialogue_format);
      exchanges.push_back(
          {tokenizer->encode(with_frame.prompt, false), tokenizer->encode(with_frame.answer, false)});
    }
    uint64_t masked = 0;
    auto more = dialogue_rows(exchanges, rules, [&](int64_t begin, int64_t end, int64_t count) {
      constexpr uint64_t kMostRows = 4096;  // of one dialogue: their draws have numbers of their own
      Stream random(seed, "dialogue", static_cast<uint64_t>(i) * kMostRows + masked++);
      auto order = random.permutation(end - begin);
      order.resize(static_cast<size_t>(count));
      for (auto& at : order) at += begin;
      return order;
    });
    std::move(more.begin(), more.end(), std::back_inserter(rows));
  }
  if (rows.empty())
    fail(whole->uri(), str("no answer begins within ", length, " tokens"),
         "raise encoder.context, or shorten the prompts");
  return std::make_shared<DialogueRows>(std::move(rows), whole->uri());
}

}  // namespace lacuna::data
