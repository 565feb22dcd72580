// Golden cases of MEAP's tokenizer: Llama 2's BPE with an added [MASK], as its tokenizer.json describes it.

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/method/golden_texts.h"
#include "lacuna/text/huggingface.h"

namespace lacuna {
namespace {

Json added_token(const std::string& content, int64_t id) {
  return {{"id", id}, {"content", content}, {"normalized", false}, {"special", true}};
}

/// The document of MEAP-Pretain/tokenizer/tokenizer.json with the case's vocabulary, merges and switches.
Json document_of(const GoldenCase& golden) {
  const auto& config = golden.config;
  Json vocab = Json::object(), merges = Json::array(), added = Json::array();
  int64_t next = 0;
  for (const auto& piece : golden_texts(golden, "vocab_bytes", "vocab_offset")) vocab[piece] = next++;
  for (const auto& merge : golden_texts(golden, "merge_bytes", "merge_offset")) merges.push_back(merge);
  for (const char* name : {"<unk>", "<s>", "</s>"})
    if (vocab.contains(name)) added.push_back(added_token(name, vocab[name]));
  if (config.contains("mask_token"))
    added.push_back(added_token(config["mask_token"], config.value("mask_token_id", next)));

  Json frame = Json::array({{{"Sequence", {{"id", "A"}}}}}), specials = Json::object();
  const auto put = [&](const char* name, bool front) {
    const Json item = {{"SpecialToken", {{"id", name}}}};
    frame.insert(front ? frame.begin() : frame.end(), item);
    specials[name] = {{"ids", Json::array({vocab.at(name)})}};
  };
  if (config.value("add_bos", true)) put("<s>", true);
  if (config.value("add_eos", false)) put("</s>", false);
  const Json space = {{"String", " "}}, mark = {{"String", "\u2581"}};
  return {
      {"added_tokens", added},
      {"normalizer",
       {{"type", "Sequence"},
        {"normalizers",
         {{{"type", "Prepend"}, {"prepend", "\u2581"}},
          {{"type", "Replace"}, {"pattern", space}, {"content", "\u2581"}}}}}},
      {"post_processor", {{"type", "TemplateProcessing"}, {"single", frame}, {"special_tokens", specials}}},
      {"decoder",
       {{"type", "Sequence"},
        {"decoders",
         {{{"type", "Replace"}, {"pattern", mark}, {"content", " "}},
          {{"type", "ByteFallback"}},
          {{"type", "Fuse"}},
          {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}}},
      {"model",
       {{"type", "BPE"},
        {"vocab", vocab},
        {"merges", merges},
        {"unk_token", "<unk>"},
        {"fuse_unk", config.value("fuse_unk", true)},
        {"byte_fallback", config.value("byte_fallback", true)}}}};
}

io::Tensors tokenize(const GoldenCase& golden) {
  const auto tokenizer = text::from_huggingface(document_of(golden), "case");
  std::vector<text::Ids> ids;
  std::vector<std::string> decoded;
  for (const auto& text : golden_texts(golden, "text_bytes", "text_offset")) {
    ids.push_back(tokenizer->encode(text));
    decoded.push_back(tokenizer->decode(ids.back()));
  }
  io::Tensors out;
  add_golden_ids(out, ids, "ids", "offset");
  add_golden_texts(out, decoded, "decoded_bytes", "decoded_offset");
  return out;
}

const Register<GoldenKind> registered{"meap/tokenizer", {tokenize}};

}  // namespace
}  // namespace lacuna
