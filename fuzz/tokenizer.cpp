// tokenizer.json from memory: what is accepted encodes and decodes a text.

#include <nlohmann/json.hpp>

#include "fuzz/fuzz.h"
#include "lacuna/text/huggingface.h"

using namespace lacuna;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto document = nlohmann::json::parse(data, data + size, nullptr, /*allow_exceptions=*/false);
  fuzz::expect_answer([&] {
    const auto tokenizer = text::from_huggingface(document, "tokenizer.json");
    const auto ids = tokenizer->encode("it's 12 na\xC3\xAFve\n\xFF tokens");
    for (const auto id : ids) fuzz::expect(id >= 0 && id < tokenizer->vocab_size());
    tokenizer->decode(ids, true);
  });
  return 0;
}
