#include "lacuna/io/safetensors.h"

#include "fuzz/fuzz.h"

using namespace lacuna;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::MemoryFile file;
  file.write(fuzz::text_of(data, size));
  fuzz::expect_answer([] {
    for (const auto& [name, tensor] : io::load_safetensors(file.path())) fuzz::touch(tensor);
  });
  return 0;
}
