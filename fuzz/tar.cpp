// A WebDataset shard: the archive, compressed or not, its labels as text and as JSON.

#include "fuzz/fuzz.h"
#include "tests/support/pictures.h"

using namespace lacuna;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::MemoryFile file;
  static const testing::TemporaryFolder folder;
  static const std::string uri = [] {
    std::filesystem::create_symlink(file.path(), folder / "s.tar");
    return "wds:" + (folder / "s.tar").string();
  }();
  file.write(fuzz::text_of(data, size));
  fuzz::expect_answer([] { fuzz::touch(*data::open_dataset(uri)); });
  return 0;
}
