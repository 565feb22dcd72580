// Golden cases of CLIP's tokenizer: OpenAI's simple_tokenizer.py and clip.tokenize.

#include "lacuna/core/torch.h"
#include "lacuna/method/golden.h"
#include "lacuna/method/golden_texts.h"
#include "lacuna/text/clip.h"

namespace lacuna {
namespace {

io::Tensors tokenize(const GoldenCase& golden) {
  const auto& config = golden.config.at("tokenizer");
  const auto order = golden.weights.at("byte_order").to(torch::kLong).contiguous();
  const auto merges = golden.weights.at("merges").to(torch::kInt).contiguous();
  std::array<uint8_t, 256> bytes{};
  for (int64_t i = 0; i < 256; ++i)
    bytes[static_cast<size_t>(i)] = static_cast<uint8_t>(order[i].item<int64_t>());
  std::vector<text::ClipTokenizer::Pair> pairs(static_cast<size_t>(merges.size(0)));
  const auto* numbers = merges.const_data_ptr<int32_t>();
  for (size_t k = 0; k < pairs.size(); ++k) pairs[k] = {numbers[2 * k], numbers[2 * k + 1]};
  const text::ClipTokenizer tokenizer(bytes, pairs,
                                      {.start = config.value("sot", 49406),
                                       .end = config.value("eot", 49407),
                                       .mask = config.value("mask", -1),
                                       .lower = config.value("lower", true)});
  const auto length = config.value("context_length", int64_t{77});
  std::vector<text::Ids> encoded;
  std::vector<std::string> decoded;
  std::vector<at::Tensor> rows;
  for (const auto& text : golden_texts(golden, "text_bytes", "text_offsets")) {
    encoded.push_back(tokenizer.encode(text, false));
    decoded.push_back(tokenizer.decode(encoded.back(), true));
    rows.push_back(
        torch::tensor(tokenizer.sequence(text, length, config.value("truncate", true)), torch::kInt));
  }
  io::Tensors out{{"tokens", torch::stack(rows)}};
  add_golden_ids(out, encoded, "encoded", "encoded_offsets");
  add_golden_texts(out, decoded, "decoded_bytes", "decoded_offsets");
  return out;
}

const Register<GoldenKind> registered{"clip/tokenizer", {tokenize}};

}  // namespace
}  // namespace lacuna
