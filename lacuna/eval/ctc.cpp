// CTC fine-tuning with the token error rate (HuBERT, section IV; fairseq's base_10h.yaml).

#include "lacuna/eval/ctc.h"
#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/transcripts.h"
#include "lacuna/eval/finetune.h"
#include "lacuna/eval/transcribe.h"
#include "lacuna/method/speech_ctc.h"

namespace lacuna::eval {

namespace {

// base_10h's course of the rate over its 25,000 steps: 8,000 up, then towards 0.05 of the rate over 72,000.
constexpr double kWarmupShare = 8000.0 / 25000, kDecayShare = 72000.0 / 25000;
constexpr double kFirstRate = 0.01, kLastRate = 0.05;

/// Keys of the encoder's regularisation, which fine-tuning sets for itself.
bool is_regularisation(const std::string& key) {
  for (const char* own : {"encoder.dropout", "encoder.attention_dropout", "encoder.activation_dropout",
                          "encoder.dropout_input", "encoder.layerdrop", "encoder.feature_grad_mult"})
    if (key == own) return true;
  return false;
}

/// The course of the rate, where the user did not choose one: the paper's shares of this run's steps.
void set_rates(train::RunConfig& config, int64_t records) {
  auto& table = config.table;
  const auto& t = config.train;
  if (t.schedule != "tri_stage") return;
  const double per_epoch =
      std::max(1.0, std::floor(static_cast<double>(records) / static_cast<double>(t.batch_size * t.accum)));
  const double epochs = t.steps >= 0 ? static_cast<double>(t.steps) / per_epoch : t.epochs;
  const auto choose = [&](const char* key, double value) {
    if (!table.is_set(key)) table.set(key, value, "fine-tuning");
  };
  choose("train.warmup_epochs", kWarmupShare * epochs);
  choose("train.decay_epochs", kDecayShare * epochs);
  choose("train.warmup_lr", kFirstRate * t.lr);
  choose("train.min_lr", kLastRate * t.lr);
}

std::unique_ptr<train::RunConfig> ctc_config(const Request& request) {
  const auto& source = *request.model.config;
  const auto& origin = request.model.origin;
  auto config = std::make_unique<train::RunConfig>("speech-ctc");
  auto& table = config->table;
  if (source.info().modality != "audio")
    fail(origin, str("are weights of ", source.method, ", which hears nothing"),
         "give weights of speech-targets");
  for (const auto& field : source.table.fields())
    if (field.key.starts_with("encoder.") && table.has(field.key) && !is_regularisation(field.key))
      table.set(field.key, field.get(), origin);
  copy_keys(source.table, "data.", table, origin);
  for (const char* key : {"audio.sample_rate", "audio.normalize"})
    table.set(key, source.table.get(key), origin);
  table.set("data.uri", request.data_uri, "--data");
  table.set("train.init", origin, origin);
  for (const auto& setting : request.settings) table.set_assignment(setting, "--set");
  if (request.config.from_scratch) {
    table.set("train.init", "", "eval.from_scratch");
    // What was never trained can't be left as it is.
    if (!table.is_set("head.freeze_share")) table.set("head.freeze_share", 0.0, "eval.from_scratch");
    if (!table.is_set("encoder.feature_grad_mult"))
      table.set("encoder.feature_grad_mult", 1.0, "eval.from_scratch");
  }
  const auto& encoder = dynamic_cast<const SpeechCtcConfig&>(*config->method_config).encoder;
  if (!table.is_set("audio.min_samples")) table.set("audio.min_samples", encoder.field(), "one frame");
  set_rates(*config, request.train->size());
  return config;
}

std::vector<std::string> text_of(const TokenList& list, const std::vector<std::string>& tokens) {
  std::vector<std::string> out;
  for (const int64_t token : list) out.push_back(tokens.at(static_cast<size_t>(token)));
  return out;
}

/// Numbers for words, the same in both texts.
TokenList words_of(const std::string& text, std::map<std::string, int64_t>& numbers) {
  TokenList out;
  for (const auto& word : data::split_transcript(text, "word"))
    out.push_back(numbers.emplace(word, std::ssize(numbers)).first->second);
  return out;
}

}  // namespace

Json transcription_metrics(const Model& recogniser, std::shared_ptr<data::Dataset> test,
                           const EvalConfig& config) {
  const auto* method = dynamic_cast<const SpeechCtc*>(recogniser.method.get());
  LACUNA_ASSERT(method);
  const auto& head = method->config().head;
  const auto device = recogniser.method->parameters().front().device();
  auto loader = make_loader(recogniser, data::with_tokens(std::move(test), head.tokens, head), config);
  Edits tokens, words;
  int64_t records = 0, right = 0;
  while (auto batch = loader.next_in_epoch()) {
    if (batch->size() == 0) continue;
    const auto heard = method->hear(batch->to(device));
    const auto scores = heard.log_probs.cpu();
    for (int64_t b = 0; b < batch->size(); ++b) {
      const auto own = scores[b].slice(0, 0, heard.length[b].item<int64_t>());
      const auto said = batch->tokens[b].masked_select(batch->tokens[b] >= 0).contiguous();
      const TokenList reference(said.const_data_ptr<int64_t>(),
                                said.const_data_ptr<int64_t>() + said.numel());
      const auto found = config.probe.beam > 1 ? beam_ctc(own, config.probe.beam) : greedy_ctc(own);
      tokens += edit_distance(reference, found);
      std::map<std::string, int64_t> numbers;
      const auto text = [&](const TokenList& list) {
        return words_of(data::join_tokens(text_of(list, head.tokens), head.unit), numbers);
      };
      words += edit_distance(text(reference), text(found));
      ++records;
      right += found == reference ? 1 : 0;
    }
  }
  if (records == 0) fail("--test", "no record that can be read", "run `lacuna inspect` on it");
  return {{"ter", tokens.rate()},
          {"wer", words.rate()},
          {"accuracy", static_cast<double>(right) / static_cast<double>(records)},
          {"substitutions", tokens.substitutions},
          {"deletions", tokens.deletions},
          {"insertions", tokens.insertions},
          {"reference_tokens", tokens.reference},
          {"reference_words", words.reference}};
}

namespace {

Result ctc(const Request& request) {
  const auto run = train_network(request, ctc_config(request)).string();
  const auto tuned = load_model(run);
  Result result;
  result.metrics = transcription_metrics(tuned, request.test, request.config);
  result.settings = {{"run", run},
                     {"from_scratch", request.config.from_scratch},
                     {"beam", request.config.probe.beam},
                     {"train_size", request.train->size()},
                     {"test_size", request.test->size()}};
  for (const char* key : {"train.steps", "train.lr", "train.batch_size", "train.seed", "head.unit",
                          "head.freeze_share", "head.weighted", "mask.prob", "channel_mask.prob"})
    result.settings[key] = tuned.config->table.get(key);
  result.settings["tokens"] = tuned.config->table.get("head.tokens").size();
  return result;
}

const Register<Protocol> registered{
    "ctc",
    {.summary =
         "speech recognition: encoder and a linear head trained on transcripts with CTC, scored by token "
         "and word error rate; head.weighted: on a frozen encoder (keys of `lacuna info speech-ctc`)",
     .run = ctc,
     .trains = true,
     .several_processes = true,
     .labels = false}};

}  // namespace
}  // namespace lacuna::eval
