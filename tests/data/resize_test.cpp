#include "lacuna/data/resize.h"

#include <gtest/gtest.h>

#include "lacuna/core/torch.h"
#include "lacuna/data/level_rows.h"
#include "tests/support/pictures.h"

namespace lacuna::data {
namespace {

/// What torchvision calls for a uint8 tensor: LibTorch's own kernel.
at::Tensor libtorch_resize(const at::Tensor& pixels, const io::Rect& crop, Size2 size,
                           Interpolation interpolation) {
  const auto input = pixels.narrow(0, crop.top, crop.height)
                         .narrow(1, crop.left, crop.width)
                         .permute({2, 0, 1})
                         .unsqueeze(0);
  const auto out =
      interpolation == Interpolation::kBicubic
          ? at::_upsample_bicubic2d_aa(input, {size.h, size.w}, false, std::nullopt, std::nullopt)
          : at::_upsample_bilinear2d_aa(input, {size.h, size.w}, false, std::nullopt, std::nullopt);
  return out[0].permute({1, 2, 0}).contiguous();
}

at::Tensor with_loops(const at::Tensor& pixels, const Resampling& what, const RowLoops& loops) {
  const int64_t n = what.window.width * pixels.size(2);
  auto out = at::empty({what.window.height, what.window.width, pixels.size(2)}, at::kByte);
  resample_rows(
      pixels, what,
      [&](int64_t y, const uint8_t* row) { std::copy_n(row, n, out.mutable_data_ptr<uint8_t>() + y * n); },
      loops);
  return out;
}

struct Case {
  Size2 source;
  io::Rect crop;
  Size2 size;
};
// Smaller, larger, one direction each way, far smaller (many taps), one pixel, the picture's last row and
// column.
const std::vector<Case> kCases = {
    {{75, 100}, {5, 7, 60, 80}, {32, 32}},  {{20, 21}, {0, 0, 20, 21}, {47, 53}},
    {{40, 30}, {3, 2, 37, 28}, {50, 19}},   {{300, 400}, {0, 0, 300, 400}, {7, 9}},
    {{9, 11}, {8, 10, 1, 1}, {5, 6}},       {{64, 64}, {30, 31, 34, 33}, {33, 34}},
    {{128, 170}, {0, 20, 128, 128}, {1, 1}}};

TEST(ResizeLevels, EqualLibTorchToTheBit) {
  for (const auto& [source, crop, size] : kCases)
    for (const auto interpolation : {Interpolation::kBilinear, Interpolation::kBicubic}) {
      const auto pixels = testing::noise(source.h, source.w, 3, 5);
      EXPECT_TRUE(at::equal(resize(pixels, crop, size, interpolation),
                            libtorch_resize(pixels, crop, size, interpolation)))
          << size;
    }
}

TEST(ResizeLevels, TheProcessorsLoopsEqualThePortableOnes) {
  for (const auto& [source, crop, size] : kCases)
    for (const int64_t channels : {1, 3, 4})
      for (const bool pillow : {false, true}) {
        const auto pixels = testing::noise(source.h, source.w, channels, 6);
        const Resampling what{crop, size, {0, 0, size.h, size.w}, Interpolation::kBicubic, pillow};
        EXPECT_TRUE(
            at::equal(with_loops(pixels, what, row_loops()), with_loops(pixels, what, portable_row_loops())))
            << size << " channels " << channels << " pillow " << pillow;
      }
}

TEST(ResizeLevels, AWindowIsAPartOfTheWhole) {
  const auto pixels = testing::noise(50, 60, 3, 7);
  const Resampling whole{{0, 0, 50, 60}, {31, 37}, {0, 0, 31, 37}, Interpolation::kBicubic};
  Resampling part = whole;
  part.window = {4, 6, 20, 17};
  EXPECT_TRUE(at::equal(with_loops(pixels, part, row_loops()),
                        with_loops(pixels, whole, row_loops()).narrow(0, 4, 20).narrow(1, 6, 17)));
}

TEST(NormalizeRows, TheProcessorsLoopsEqualThePortableOnes) {
  const LevelScale scale{{0.017F, 0.0175F, 0.0174F}, {-2.1F, -2.0F, -1.8F}};
  for (const int64_t width : {1, 7, 8, 9, 31, 224})
    for (const bool flip : {false, true}) {
      const auto row = testing::noise(1, width, 3, static_cast<uint64_t>(width));
      auto fast = at::empty({3, width}), plain = at::empty({3, width});
      row_loops().normalize(row.const_data_ptr<uint8_t>(), width, scale, flip, fast.mutable_data_ptr<float>(),
                            width);
      portable_row_loops().normalize(row.const_data_ptr<uint8_t>(), width, scale, flip,
                                     plain.mutable_data_ptr<float>(), width);
      EXPECT_TRUE(at::equal(fast, plain)) << width;
      const auto expected = row[0].to(at::kFloat).t() * at::tensor(scale.scale).unsqueeze(1) +
                            at::tensor(scale.shift).unsqueeze(1);
      EXPECT_TRUE(at::allclose(flip ? plain.flip({1}) : plain, expected, 0, 1e-6)) << width;
    }
}

}  // namespace
}  // namespace lacuna::data
