// Two bytes say how many bytes the label file has; the image file is the rest.

#include "fuzz/fuzz.h"
#include "tests/support/pictures.h"

using namespace lacuna;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::MemoryFile images, labels;
  static const testing::TemporaryFolder folder;
  static const std::string uri = [] {
    std::filesystem::create_symlink(images.path(), folder / "train-images-idx3-ubyte");
    std::filesystem::create_symlink(labels.path(), folder / "train-labels-idx1-ubyte");
    return "idx:" + folder.path().string();
  }();
  if (size < 2) return 0;
  const std::string_view rest = fuzz::text_of(data + 2, size - 2);
  const size_t split = std::min<size_t>(data[0] << 8 | data[1], rest.size());
  labels.write(rest.substr(0, split));
  images.write(rest.substr(split));
  fuzz::expect_answer([] { fuzz::touch(*data::open_dataset(uri)); });
  return 0;
}
