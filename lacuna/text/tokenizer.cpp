#include "lacuna/text/tokenizer.h"

#include "lacuna/core/error.h"
#include "lacuna/text/byte_tokenizer.h"
#include "lacuna/text/clip.h"
#include "lacuna/text/huggingface.h"
#include "lacuna/text/sentencepiece.h"

namespace lacuna::text {
namespace {

namespace fs = io::fs;

/// The file of a folder that a tokenizer is read from; empty when there is none.
fs::path file_in(const fs::path& folder) {
  for (const char* name : {"tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
                           "bpe_simple_vocab_16e6.txt.gz", "bpe_simple_vocab_16e6.txt"})
    if (fs::exists(folder / name)) return folder / name;
  return {};
}

std::shared_ptr<const Tokenizer> open_json(const fs::path& path) {
  const auto document = nlohmann::json::parse(io::read_file(path), nullptr, false);
  if (document.is_discarded()) fail(path.string(), "is no JSON", "take the file as it was published");
  return from_huggingface(document, path.string());
}

}  // namespace

std::shared_ptr<const Tokenizer> open_tokenizer(const fs::path& path) {
  if (path == "bytes") return byte_tokenizer();
  const auto file = fs::is_directory(path) ? file_in(path) : path;
  if (file.empty())
    fail(path.string(), "holds no tokenizer",
         "put tokenizer.json, tokenizer.model or bpe_simple_vocab_16e6.txt.gz there, or train one (lacuna "
         "tokenizer train)");
  if (file.extension() == ".json") return open_json(file);
  if (file.extension() == ".model") return open_sentencepiece(file);
  if (file.extension() == ".gz" || file.extension() == ".txt") return ClipTokenizer::open(file);
  fail(file.string(), "is no tokenizer that is known by its name",
       "use tokenizer.json, a sentencepiece *.model, or CLIP's bpe_simple_vocab_16e6.txt.gz");
}

SpecialIds special_by_name(const Tokenizer& tokenizer) {
  const auto first = [&](std::initializer_list<const char*> names) -> std::optional<int32_t> {
    for (const char* name : names)
      if (const auto id = tokenizer.id_of(name)) return id;
    return std::nullopt;
  };
  return {.unknown = first({"<unk>", "[UNK]", "<|unk|>"}),
          .begin = first({"<s>", "[CLS]", "<|begin_of_text|>", "<bos>", "<|startoftext|>", "<|endoftext|>"}),
          .end = first({"</s>", "[SEP]", "<|end_of_text|>", "<eos>", "<|endoftext|>"}),
          .pad = first({"<pad>", "[PAD]", "<|pad|>", "<|finetune_right_pad_id|>"}),
          .mask = first({"[MASK]", "<mask>", "<|mask|>"})};
}

void fail_unknown_id(int32_t id, int32_t vocab_size) {
  fail(str("token ", id), str("is not in a vocabulary of ", vocab_size),
       "decode with the tokenizer that encoded");
}

}  // namespace lacuna::text
