// Needle in a haystack (Kamradt, 2023) by depth and length, questions over several documents by position (Liu
// et al., "Lost in the middle", TACL 2024), and what attention does there (MEAP, section 5).

#include <algorithm>
#include <cmath>
#include <set>

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/synthetic_facts.h"
#include "lacuna/eval/language.h"
#include "lacuna/mask/tokens.h"

namespace lacuna::eval {
namespace {

/// Lines that follow one another in the haystack, with the tokens each has.
class Haystack {
 public:
  Haystack(const LanguageModel& model, std::vector<std::string> lines) : lines_(std::move(lines)) {
    for (const auto& line : lines_) sizes_.push_back(std::ssize(model.tokenizer->encode(line, false)));
    if (*std::min_element(sizes_.begin(), sizes_.end()) < 1)
      fail("haystack", "holds a line without tokens", "give another text");
  }

  /// As many lines from a random one on as have at most `tokens` tokens.
  std::vector<std::string> draw(int64_t tokens, Stream& random) const {
    std::vector<std::string> out;
    auto at = static_cast<size_t>(random.below(std::ssize(lines_)));
    // A line that is too long ends a run; of the first ones, shorter ones are looked for.
    for (size_t tried = 0; tried < lines_.size(); ++tried, at = (at + 1) % lines_.size()) {
      if (sizes_[at] > tokens) {
        if (out.empty()) continue;
        break;
      }
      tokens -= sizes_[at];
      out.push_back(lines_[at]);
    }
    return out;
  }

 private:
  std::vector<std::string> lines_;
  std::vector<int64_t> sizes_;
};

std::string joined(const std::vector<std::string>& lines) {
  std::string out;
  for (const auto& line : lines) out += line;
  return out;
}

int64_t tokens_of(const LanguageModel& model, const std::string& text) {
  return std::ssize(model.tokenizer->encode(text, false));
}

/// A text of at most `length` tokens with a fact at `depth` and a question for it at the end.
struct Needle {
  Cloze cloze;
  text::Ids before;  ///< tokens up to the code
  text::Ids up_to;   ///< tokens up to its end
};
Needle make_needle(const LanguageModel& model, const Haystack& haystack, const TextEvalConfig& config,
                   int64_t length, double depth, Stream random) {
  const auto fact = data::draw_fact(config.answer_digits, random);
  const auto sentence = data::fact_sentence(fact), question = data::fact_question(fact.key);
  constexpr int64_t kSpare = 4;  // tokens that joining texts may add, and the begin token
  const int64_t room = length - tokens_of(model, sentence) - tokens_of(model, question + fact.code) - kSpare;
  if (room < 0)
    fail(str("lm.lengths ", length), "has no room for a needle and its question",
         "use longer texts, or a longer context");
  auto lines = haystack.draw(room, random);
  const auto at = std::llround(depth * static_cast<double>(lines.size()));
  const auto front = joined({lines.begin(), lines.begin() + at}),
             back = joined({lines.begin() + at, lines.end()});
  const auto told = sentence.substr(0, sentence.find(fact.code, sentence.rfind(' ')));
  return {make_cloze(model, front + sentence + back + question, fact.code), model.tokens(front + told),
          model.tokens(front + told + fact.code)};
}

std::vector<int64_t> lengths_of(const LanguageModel& model, const TextEvalConfig& config) {
  auto lengths = config.lengths;
  if (lengths.empty()) lengths = {model.context() / 4, model.context() / 2, model.context()};
  for (const auto length : lengths)
    if (length > model.context())
      fail(str("lm.lengths ", length), str("the context has ", model.context(), " tokens"),
           "use shorter texts");
  return lengths;
}

double share_of(const std::vector<bool>& hits) {
  return static_cast<double>(std::count(hits.begin(), hits.end(), true)) / static_cast<double>(hits.size());
}

std::string percent(double depth) { return str(std::llround(100 * depth)); }

Result needle(const Request& request) {
  const auto model = language_model(request.model);
  const auto& config = request.config.lm;
  const Haystack haystack(model, haystack_lines(*request.test));
  const auto lengths = lengths_of(model, config);
  Result result;
  Json series = Json::object();
  std::vector<bool> all;
  std::map<double, std::vector<bool>> by_depth;
  log::Progress progress("needle");
  int64_t done = 0;
  for (const auto length : lengths) {
    std::vector<bool> of_length;
    for (const double depth : config.depths) {
      std::vector<Cloze> clozes;
      for (int64_t trial = 0; trial < config.trials; ++trial)
        clozes.push_back(
            make_needle(model, haystack, config, length, depth,
                        Stream(static_cast<uint64_t>(request.config.seed),
                               str("needle/", length, "/", percent(depth)), static_cast<uint64_t>(trial)))
                .cloze);
      const auto hits = answered(model, clozes, request.config.batch_size);
      result.metrics[str("accuracy.", length, ".depth", percent(depth))] = share_of(hits);
      series[str(length, " tokens")].push_back({depth, share_of(hits)});
      for (auto* list : {&of_length, &all, &by_depth[depth]})
        list->insert(list->end(), hits.begin(), hits.end());
      progress.update(++done, std::ssize(lengths) * std::ssize(config.depths));
    }
    result.metrics[str("accuracy.", length)] = share_of(of_length);
  }
  for (const auto& [depth, hits] : by_depth)
    result.metrics[str("accuracy.depth", percent(depth))] = share_of(hits);
  result.metrics["accuracy"] = share_of(all);
  result.settings = {{"lengths", lengths},
                     {"depths", config.depths},
                     {"trials", config.trials},
                     {"digits", config.answer_digits},
                     {"chance", std::pow(0.1, static_cast<double>(config.answer_digits))}};
  result.curves = {{{"title", "needle in a haystack"},
                    {"note", "share of codes said in full, by length"},
                    {"x", "depth"},
                    {"shares", true},
                    {"series", series}}};
  return result;
}

/// Documents of real lines, each with a code of its own; the question is for that at `gold`.
Cloze make_question(const LanguageModel& model, const Haystack& haystack, const TextEvalConfig& config,
                    int64_t gold, Stream random) {
  std::set<std::string> keys;
  std::vector<data::Fact> facts;
  while (std::ssize(facts) < config.documents) {
    auto fact = data::draw_fact(config.answer_digits, random);
    if (keys.insert(fact.key).second) facts.push_back(std::move(fact));
  }
  const auto& asked = facts[static_cast<size_t>(gold)];
  const auto question = data::fact_question(asked.key);
  constexpr int64_t kSpare = 4;
  int64_t room = model.context() - tokens_of(model, question + asked.code) - kSpare;
  std::vector<std::string> heads;
  for (size_t i = 0; i < facts.size(); ++i) {
    heads.push_back(str("Document ", i + 1, ". "));
    room -= tokens_of(model, heads.back() + data::fact_sentence(facts[i]));
  }
  if (room < 0)
    fail(str("lm.documents ", config.documents),
         str("do not fit into a context of ", model.context(), " tokens"), "use fewer");
  std::string text;
  for (size_t i = 0; i < facts.size(); ++i)
    text += heads[i] + data::fact_sentence(facts[i]) + joined(haystack.draw(room / config.documents, random));
  return make_cloze(model, text + question, asked.code);
}

Result documents(const Request& request) {
  const auto model = language_model(request.model);
  const auto& config = request.config.lm;
  const Haystack haystack(model, haystack_lines(*request.test));
  Result result;
  std::vector<bool> all;
  Json series = Json::array();
  log::Progress progress("documents");
  for (int64_t gold = 0; gold < config.documents; ++gold) {
    std::vector<Cloze> clozes;
    for (int64_t trial = 0; trial < config.trials; ++trial)
      clozes.push_back(make_question(model, haystack, config, gold,
                                     Stream(static_cast<uint64_t>(request.config.seed),
                                            str("documents/", gold), static_cast<uint64_t>(trial))));
    const auto hits = answered(model, clozes, request.config.batch_size);
    result.metrics[str("accuracy.position", gold + 1)] = share_of(hits);
    series.push_back({gold + 1, share_of(hits)});
    all.insert(all.end(), hits.begin(), hits.end());
    progress.update(gold + 1, config.documents);
  }
  result.metrics["accuracy"] = share_of(all);
  result.settings = {{"documents", config.documents},
                     {"trials", config.trials},
                     {"digits", config.answer_digits},
                     {"context", model.context()}};
  result.curves = {{{"title", "questions over documents"},
                    {"note", "share of codes said in full, by where they stand"},
                    {"x", "position of the document"},
                    {"shares", true},
                    {"series", {{"accuracy", series}}}}};
  return result;
}

/// Sums over texts of what attention did.
struct AttentionSums {
  double answer = 0, context = 0, highest = 0, masked = 0, variance = 0;
};

/// By layer and head, the attention [S] that the place before the answer pays; means over both.
void look(const LanguageModel& model, const Needle& needle, const Tensor& hidden, AttentionSums& sums) {
  const int64_t last = needle.cloze.answer - 1, S = last + 1;
  const auto ids =
      torch::tensor(needle.cloze.tokens, torch::kLong).slice(0, 0, S).unsqueeze(0).to(model.device);
  const auto rows_of = [&](const Tensor& read) {
    std::vector<Tensor> rows;
    for (const auto& layer : model.method.network().attentions(read))
      rows.push_back(layer[0].select(1, last));
    return torch::cat(rows).to(torch::kDouble).cpu();  // [layers heads, S]
  };
  const auto plain = rows_of(ids);
  const int64_t begin = std::min<int64_t>(std::ssize(needle.before), S),
                end = std::min<int64_t>(std::ssize(needle.up_to), S);
  sums.answer += plain.slice(1, begin, end).sum(1).mean().item<double>();
  sums.context += plain.slice(1, 0, begin).sum(1).mean().item<double>();
  sums.highest += plain.slice(1, begin, end).amax(1).mean().item<double>();
  const auto where = hidden.slice(0, 0, S);
  const auto masked = rows_of(model.method.masked(ids, where.unsqueeze(0)));
  sums.masked +=
      masked.index({torch::indexing::Slice(), where}).mean().item<double>() * static_cast<double>(S);
  sums.variance += (masked.index({torch::indexing::Slice(), ~where}) * static_cast<double>(S))
                       .var(1)
                       .mean()
                       .item<double>();
}

Result attention(const Request& request) {
  const torch::NoGradGuard no_grad;
  const auto model = language_model(request.model);
  const auto& config = request.config.lm;
  const Haystack haystack(model, haystack_lines(*request.test));
  const int64_t length = config.lengths.empty() ? model.context() : lengths_of(model, config).front();
  mask::TokenMaskConfig masking;  // the same share for every model, also one trained without masks
  AttentionSums sums;
  double count = 0;
  for (const double depth : config.depths)
    for (int64_t trial = 0; trial < config.trials; ++trial, ++count) {
      const Stream random(static_cast<uint64_t>(request.config.seed), "attention/" + percent(depth),
                          static_cast<uint64_t>(trial));
      const auto needle = make_needle(model, haystack, config, length, depth, random);
      const auto tokens = std::ssize(needle.cloze.tokens);
      const auto hidden =
          torch::zeros({tokens}, torch::kBool)
              .index_fill(0, mask::shared_positions(masking, needle.cloze.answer, trial), true);
      look(model, needle, hidden, sums);
    }
  Result result;
  result.metrics = {{"answer_share", sums.answer / count},
                    {"before_share", sums.context / count},
                    {"answer_highest", sums.highest / count},
                    {"masked_score", sums.masked / count},
                    {"unmasked_variance", sums.variance / count}};
  result.settings = {
      {"length", length},
      {"trials", config.trials},
      {"depths", config.depths},
      {"mask_ratio", masking.ratio},
      {"note",
       "attention of the place before the answer, mean over layers and heads; masked_score and "
       "unmasked_variance with a share of the inputs masked, in units of 1 / length"}};
  return result;
}

const Register<Protocol> kNeedle{
    "needle",
    {.summary = "a fact hidden in a text is asked for, by depth and length", .run = needle, .labels = false}};
const Register<Protocol> kDocuments{
    "documents",
    {.summary = "questions over several documents, by where the answer stands",
     .run = documents,
     .labels = false}};
const Register<Protocol> kAttention{
    "attention",
    {.summary = "what a decoder attends to when it is asked for a fact", .run = attention, .labels = false}};

}  // namespace
}  // namespace lacuna::eval
