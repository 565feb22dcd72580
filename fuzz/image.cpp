// The whole picture, and its middle decoded for a small target.

#include "lacuna/io/image.h"

#include "fuzz/fuzz.h"

using namespace lacuna;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const io::ImageLimits limits{.max_pixels = 1 << 18, .max_bytes = 1 << 22};
  const io::Bytes bytes = std::as_bytes(std::span(data, size));
  fuzz::expect_answer([&] {
    const auto info = io::probe_image(bytes, "x");
    const auto image = io::decode_image(bytes, "x", limits);
    fuzz::expect(image.height() == info.height && image.width() == info.width &&
                 image.channels() == info.channels);
    fuzz::touch(image.pixels);
    io::Rect crop{info.height / 3, info.width / 3, (info.height + 2) / 3, (info.width + 2) / 3};
    const auto region = io::decode_region(bytes, "x", {8, 8}, crop, limits);
    fuzz::expect(crop.top >= 0 && crop.left >= 0 && crop.height > 0 && crop.width > 0 &&
                 crop.top + crop.height <= region.height() && crop.left + crop.width <= region.width());
    fuzz::touch(region.pixels);
  });
  return 0;
}
