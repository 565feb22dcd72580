// Perplexity of texts and minimal pairs of sentences (BLiMP, Warstadt et al., TACL 2020).

#include <algorithm>
#include <cmath>
#include <map>

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/tokens.h"
#include "lacuna/eval/language.h"

namespace lacuna::eval {
namespace {

/// A window of tokens, of which those from `scored` on count.
struct Window {
  int64_t begin, end, scored;
};

/// Windows of context + 1 tokens that score each token but the very first once; with a stride below the
/// context each token is scored with at least context - stride before it.
std::vector<Window> windows_of(int64_t tokens, int64_t context, int64_t stride) {
  if (stride <= 0 || stride > context) stride = context;
  std::vector<Window> out;
  int64_t done = 1;
  for (int64_t end = std::min(tokens, context + 1); done < end; end = std::min(tokens, end + stride)) {
    out.push_back({std::max<int64_t>(0, end - context - 1), end, done});
    done = end;
  }
  return out;
}

Result perplexity(const Request& request) {
  const auto model = language_model(request.model);
  const auto& dataset = request.test;
  if (dataset->size() == 0)
    fail(dataset->uri(), "holds one document, and none of it is left to score", "give --test");
  std::shared_ptr<const data::TokenFile> file;
  if (const auto packed = std::dynamic_pointer_cast<data::TokensDataset>(dataset))
    file = packed->file();
  else
    file = data::tokenize(dataset, request.model.config->text, {.workers = request.config.workers});
  const auto windows = windows_of(file->size(), model.context(), request.config.lm.stride);
  if (windows.empty()) fail(dataset->uri(), "holds no text of two tokens", "give another text");
  double loss = 0, right = 0;
  int64_t count = 0;
  const auto batch = static_cast<size_t>(request.config.batch_size);
  log::Progress progress("perplexity");
  for (size_t begin = 0; begin < windows.size(); begin += batch) {
    const size_t end = std::min(windows.size(), begin + batch);
    std::vector<text::Ids> texts;
    for (size_t i = begin; i < end; ++i) texts.push_back(file->read(windows[i].begin, windows[i].end));
    Tensor hits;
    const auto scores = token_scores(model, padded_tokens(texts), &hits);
    for (size_t i = begin; i < end; ++i) {
      const auto& window = windows[i];
      const auto row = static_cast<int64_t>(i - begin);
      const auto scored = [&](const Tensor& all) {
        return all[row].slice(0, window.scored - window.begin - 1, window.end - window.begin - 1);
      };
      loss -= scored(scores).to(torch::kDouble).sum().item<double>();
      right += static_cast<double>(scored(hits).sum().item<int64_t>());
      count += window.end - window.scored;
    }
    progress.update(static_cast<int64_t>(end), std::ssize(windows));
  }
  const auto bytes = file->about().value("bytes", int64_t{0});
  const double mean = loss / static_cast<double>(count);
  Result result;
  result.metrics = {
      {"loss", mean}, {"perplexity", std::exp(mean)}, {"accuracy", right / static_cast<double>(count)}};
  if (bytes > 0) result.metrics["bits_per_byte"] = loss / std::log(2.0) / static_cast<double>(bytes);
  result.settings = {{"tokens", count},
                     {"bytes", bytes},
                     {"context", model.context()},
                     {"stride", request.config.lm.stride},
                     {"note", "inputs are not masked; begin and end tokens count as tokens"}};
  return result;
}

struct Pair {
  std::string good, bad, paradigm, field;
};

Pair read_pair(std::string_view line, const std::string& key) {
  const auto document = Json::parse(line, nullptr, false);
  const auto text = [&](const char* name) {
    const auto found = document.is_object() ? document.find(name) : document.end();
    return found != document.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  Pair pair{text("sentence_good"), text("sentence_bad"), text("UID"), text("field")};
  if (pair.good.empty() || pair.bad.empty())
    fail(key, "has no sentence_good and sentence_bad", "give pairs as BLiMP writes them");
  return pair;
}

std::vector<Pair> read_pairs(const std::shared_ptr<data::Dataset>& dataset, const EvalConfig& config) {
  // A part of a set knows the whole, whose lines are read as they stand.
  const auto whole = data::open_dataset(dataset->uri());
  const auto* texts = dynamic_cast<const data::TextDataset*>(whole.get());
  if (texts == nullptr) fail(dataset->uri(), "is no file of JSON lines", "give --test text:FILE.jsonl");
  std::vector<Pair> out;
  const int64_t all = texts->size(), count = config.max_test > 0 ? std::min(config.max_test, all) : all;
  for (int64_t i = 0; i < count; ++i)
    out.push_back(read_pair(texts->raw(i * all / count), texts->key(i * all / count)));
  return out;
}

Result minimal_pairs(const Request& request) {
  const auto model = language_model(request.model);
  const auto pairs = read_pairs(request.test, request.config);
  std::map<std::string, std::pair<double, double>> by_paradigm, by_field;  // right, all
  double right = 0;
  const auto batch = static_cast<size_t>(request.config.batch_size);
  log::Progress progress("pairs");
  for (size_t begin = 0; begin < pairs.size(); begin += batch) {
    const size_t end = std::min(pairs.size(), begin + batch);
    std::vector<text::Ids> texts;
    for (size_t i = begin; i < end; ++i)
      for (const auto* sentence : {&pairs[i].good, &pairs[i].bad}) {
        texts.push_back(model.tokens(*sentence));
        texts.back().resize(std::min<size_t>(texts.back().size(), static_cast<size_t>(model.context()) + 1));
      }
    const auto scores = token_scores(model, padded_tokens(texts)).sum(1).to(torch::kDouble).contiguous();
    const auto* score = scores.const_data_ptr<double>();
    for (size_t i = begin; i < end; ++i) {
      const double good = score[2 * (i - begin)], bad = score[2 * (i - begin) + 1];
      const double hit = good > bad ? 1 : 0;
      right += hit;
      for (auto* counts : {&by_paradigm[pairs[i].paradigm], &by_field[pairs[i].field]})
        counts->first += hit, counts->second += 1;
    }
    progress.update(static_cast<int64_t>(end), std::ssize(pairs));
  }
  Result result;
  double mean = 0;
  Json paradigms = Json::object();
  for (const auto& [name, counts] : by_paradigm) {
    paradigms[name] = counts.first / counts.second;
    mean += counts.first / counts.second / static_cast<double>(by_paradigm.size());
  }
  result.metrics = {{"accuracy", right / static_cast<double>(pairs.size())}, {"accuracy_by_paradigm", mean}};
  for (const auto& [name, counts] : by_field)
    if (!name.empty()) result.metrics["accuracy." + name] = counts.first / counts.second;
  result.settings = {{"pairs", pairs.size()},
                     {"chance", 0.5},
                     {"paradigms", paradigms},
                     {"note", "the sentence with the higher log-probability as a whole is chosen"}};
  return result;
}

const Register<Protocol> kPerplexity{"perplexity",
                                     {.summary = "loss and perplexity of a decoder on texts, nothing masked",
                                      .run = perplexity,
                                      .labels = false}};
const Register<Protocol> kPairs{"minimal-pairs",
                                {.summary = "which of two sentences a decoder finds likelier (BLiMP)",
                                 .run = minimal_pairs,
                                 .labels = false}};

}  // namespace
}  // namespace lacuna::eval
