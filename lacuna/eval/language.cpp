#include "lacuna/eval/language.h"

#include <algorithm>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/synthetic_facts.h"
#include "lacuna/data/text.h"

namespace lacuna::eval {

text::Ids LanguageModel::tokens(const std::string& text) const {
  auto ids = tokenizer->encode(text, false);
  if (const auto begin = tokenizer->special().begin) ids.insert(ids.begin(), *begin);
  return ids;
}

LanguageModel language_model(const Model& model) {
  const auto* method = dynamic_cast<const Meap*>(model.method.get());
  if (method == nullptr)
    fail(model.origin, str("holds weights of ", model.config->method, ", which read no texts"),
         "use a run of meap");
  return {*method, data::tokenizer_of(model.config->text), method->parameters().front().device()};
}

Tensor padded_tokens(const std::vector<text::Ids>& texts) {
  int64_t longest = 0;
  for (const auto& ids : texts) longest = std::max<int64_t>(longest, std::ssize(ids));
  auto out = torch::full({std::ssize(texts), longest}, -1, torch::kLong);
  for (size_t b = 0; b < texts.size(); ++b)
    if (!texts[b].empty())
      out[static_cast<int64_t>(b)]
          .slice(0, 0, std::ssize(texts[b]))
          .copy_(torch::tensor(texts[b], torch::kLong));
  return out;
}

Tensor token_scores(const LanguageModel& model, const Tensor& tokens, Tensor* right) {
  const torch::NoGradGuard no_grad;
  const auto given = tokens.to(model.device), target = given.slice(1, 1);
  const auto& network = model.method.network();
  const auto said = network.logits(network.hidden(without_filling(given.slice(1, 0, -1)))).to(torch::kFloat);
  if (right) *right = said.argmax(-1).eq(target).cpu();
  const auto scores = said.gather(2, target.clamp_min(0).unsqueeze(-1)).squeeze(-1) - said.logsumexp(-1);
  return scores.masked_fill(target < 0, 0).cpu();
}

Cloze make_cloze(const LanguageModel& model, const std::string& prompt, const std::string& answer) {
  // A blank in front of the answer may belong to its first token.
  auto bare = prompt;
  while (!bare.empty() && bare.back() == ' ') bare.pop_back();
  Cloze out{model.tokens(prompt + answer), 0};
  const auto before = model.tokens(bare);
  const auto [end, ignored] =
      std::mismatch(out.tokens.begin(), out.tokens.end(), before.begin(), before.end());
  out.answer = std::max<int64_t>(1, std::distance(out.tokens.begin(), end));
  return out;
}

std::vector<bool> answered(const LanguageModel& model, const std::vector<Cloze>& clozes, int64_t batch_size) {
  std::vector<bool> out;
  for (size_t begin = 0; begin < clozes.size(); begin += static_cast<size_t>(batch_size)) {
    const size_t end = std::min(clozes.size(), begin + static_cast<size_t>(batch_size));
    std::vector<text::Ids> texts;
    for (size_t i = begin; i < end; ++i) texts.push_back(clozes[i].tokens);
    Tensor right;
    token_scores(model, padded_tokens(texts), &right);
    for (size_t i = begin; i < end; ++i) {
      const auto& cloze = clozes[i];
      out.push_back(right[static_cast<int64_t>(i - begin)]
                        .slice(0, cloze.answer - 1, std::ssize(cloze.tokens) - 1)
                        .all()
                        .item<bool>());
    }
  }
  return out;
}

std::vector<std::string> haystack_lines(const data::Dataset& dataset) {
  constexpr size_t kEnough = 200000;  // lines
  std::vector<std::string> out;
  for (int64_t i = 0; i < dataset.size() && out.size() < kEnough; ++i) {
    const auto record = dataset.get(i);
    const auto bytes = data::encoded_bytes(record);
    for (auto& line :
         data::filler_lines(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size())))
      if (line.find(" code") == std::string::npos) out.push_back(std::move(line));
  }
  if (out.empty())
    fail(dataset.uri(), "holds no line of text to hide something in", "give another text as --test");
  return out;
}

namespace {

/// The next token by logits [V].
int32_t choose(const Tensor& logits, const GenerateConfig& config, Stream& random) {
  if (config.temperature <= 0) return static_cast<int32_t>(logits.argmax().item<int64_t>());
  auto [sorted, order] = (logits / config.temperature).softmax(0).sort(0, /*descending=*/true);
  const int64_t V = sorted.size(0), most = config.top_k > 0 ? std::min(config.top_k, V) : V;
  const auto before = sorted.cumsum(0) - sorted;  // share of the likelier ones
  auto keep = before < config.top_p;
  keep.slice(0, most).fill_(false);
  keep.slice(0, 0, 1).fill_(true);
  const auto share = (sorted * keep).cumsum(0).to(torch::kDouble).cpu().contiguous();
  const double wanted = random.uniform() * share[V - 1].item<double>();
  const auto* at = share.const_data_ptr<double>();
  const auto place = std::min<int64_t>(std::upper_bound(at, at + V, wanted) - at, V - 1);
  return static_cast<int32_t>(order[place].item<int64_t>());
}

}  // namespace

text::Ids continue_text(const LanguageModel& model, const text::Ids& prompt, const GenerateConfig& config,
                        Stream random) {
  const torch::NoGradGuard no_grad;
  const auto& network = model.method.network();
  const int64_t room = model.context() - std::ssize(prompt);
  if (room < 1 || prompt.empty())
    fail(str("a prompt of ", prompt.size(), " tokens"), str("the context has ", model.context()),
         prompt.empty() ? "give a prompt" : "shorten it (generate.prompt_tokens)");
  nn::LlamaCache cache;
  auto next = torch::tensor(prompt, torch::kLong).unsqueeze(0);
  text::Ids out;
  const auto end = model.tokenizer->special().end;
  while (std::ssize(out) < std::min(config.tokens, room)) {
    const auto state = network.hidden(next.to(model.device), &cache).select(1, -1);
    const auto id = choose(network.logits(state)[0].to(torch::kFloat), config, random);
    if (end && id == *end) break;
    out.push_back(id);
    next = torch::full({1, 1}, id, torch::kLong);
  }
  return out;
}

}  // namespace lacuna::eval
