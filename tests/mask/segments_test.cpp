// Superpixels against scikit-image 0.26 (figures computed by its slic and quickshift on the same picture).

#include "lacuna/mask/segments.h"

#include <gtest/gtest.h>

#include "lacuna/core/torch.h"

namespace lacuna::mask {
namespace {

constexpr int64_t kHeight = 20, kWidth = 24;

/// [3, 20, 24]: waves, in [0, 1].
torch::Tensor waves() {
  const auto y = torch::arange(kHeight, torch::kDouble).unsqueeze(1);
  const auto x = torch::arange(kWidth, torch::kDouble).unsqueeze(0);
  const auto image =
      torch::stack({0.5 + 0.5 * torch::sin(0.37 * x + 0.21 * y), 0.5 + 0.5 * torch::cos(0.29 * x - 0.33 * y),
                    0.5 + 0.5 * torch::sin(0.11 * x * y / 4 + 0.5)});
  return (image - image.min()) / (image.max() - image.min());
}

/// Sizes of the regions by number.
std::vector<int64_t> sizes(const torch::Tensor& segments) {
  const auto counts = segments.flatten().bincount();
  return {counts.const_data_ptr<int64_t>(), counts.const_data_ptr<int64_t>() + counts.numel()};
}

/// Tells regions of the same sizes elsewhere apart.
int64_t place_sum(const torch::Tensor& segments) {
  const auto place = torch::arange(kHeight * kWidth).remainder(97).view({kHeight, kWidth});
  return (segments * place).sum().item<int64_t>();
}

TEST(Slic, EqualsScikitImage) {
  const auto near = slic(waves(), {.segments = 20, .compactness = 10});
  EXPECT_EQ(sizes(near), (std::vector<int64_t>{41, 49, 25, 27, 63, 22, 55, 77, 36, 38, 26, 21}));
  EXPECT_EQ(place_sum(near), 126624);
  const auto alike = slic(waves(), {.segments = 12, .compactness = 1});
  EXPECT_EQ(sizes(alike), (std::vector<int64_t>{70, 126, 43, 107, 58, 47, 29}));
  EXPECT_EQ(place_sum(alike), 57602);
}

TEST(Quickshift, EqualsScikitImage) {
  const auto many = quickshift(waves(), {.kernel_size = 3, .max_dist = 8, .ratio = 0.2});
  EXPECT_EQ(sizes(many), (std::vector<int64_t>{66, 26, 104, 4, 34, 22, 39, 69, 37, 32, 21, 7, 19}));
  EXPECT_EQ(place_sum(many), 116970);
  const auto few = quickshift(waves(), {.kernel_size = 2, .max_dist = 200, .ratio = 0.2});
  EXPECT_EQ(sizes(few), (std::vector<int64_t>{305, 95, 80}));
  EXPECT_EQ(place_sum(few), 13400);
}

TEST(Quickshift, OfEqualDensitiesTheEarlierPixelLeads) {
  // A flat picture's densities rise to the middle; an even side has four densest pixels, of which one leads.
  EXPECT_EQ(quickshift(torch::zeros({3, 4, 4}), {.kernel_size = 1, .max_dist = 10}).max().item<int64_t>(), 0);
  EXPECT_EQ(sizes(quickshift(torch::rand({1, 4, 4}), {.max_dist = 0})).size(), 16U);  // no step is that short
}

}  // namespace
}  // namespace lacuna::mask
