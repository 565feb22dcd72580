#include "lacuna/data/mixup.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/dataset.h"
#include "lacuna/io/safetensors.h"
#include "tests/support/shared.h"

namespace lacuna::data {
namespace {

/// Row b of a [rows, 1, size, size] batch is all b.
at::Tensor numbered(int64_t rows, int64_t size) {
  return at::arange(rows, at::kFloat).view({rows, 1, 1, 1}).expand({rows, 1, size, size}).contiguous();
}

Batch batch_of(const at::Tensor& image, const std::vector<int64_t>& labels) {
  Batch batch;
  batch.image = image;
  batch.label = at::tensor(labels, at::kLong);
  for (int64_t i = 0; i < image.size(0); ++i) {
    batch.sample.push_back(i);
    batch.key.push_back(str("record", i));
  }
  return batch;
}

TEST(Mix, MixupFadesIntoTheReversedBatch) {
  const auto [image, target] = mix(numbered(3, 2), at::tensor({0, 1, 1}), 2, 0, {Blend{0.75, {}}});
  EXPECT_TRUE(at::allclose(
      image, at::tensor({0.5, 1.0, 1.5}).to(at::kFloat).view({3, 1, 1, 1}).expand({3, 1, 2, 2})));
  EXPECT_TRUE(
      at::allclose(target, at::tensor({0.75, 0.25, 0.0, 1.0, 0.25, 0.75}).to(at::kFloat).view({3, 2})));
}

TEST(Mix, SmoothsTheTargetBeforeItIsMixed) {
  // s = 0.1 over 4 classes: 0.025 off, 0.925 on.
  const auto target = mix(numbered(2, 2), at::tensor({0, 3}), 4, 0.1, {Blend{0.6, {}}}).target;
  EXPECT_TRUE(at::allclose(target[0], at::tensor({0.565, 0.025, 0.025, 0.385}).to(at::kFloat)));
  EXPECT_TRUE(at::allclose(target[1], at::tensor({0.385, 0.025, 0.025, 0.565}).to(at::kFloat)));
}

TEST(CutmixBlend, BoxIsCutOffAtTheBorderAndLamFollows) {
  // 10 x 20, lam 0.51: ratio 0.7, a box of 7 x 14, that is 3 and 7 to each side of the centre.
  const Blend inside = cutmix_blend({10, 20}, 0.51, 5, 10);
  EXPECT_EQ(*inside.box, (io::Rect{2, 3, 6, 14}));
  EXPECT_DOUBLE_EQ(inside.lam, 1 - 84.0 / 200);
  const Blend corner = cutmix_blend({10, 20}, 0.51, 9, 1);
  EXPECT_EQ(*corner.box, (io::Rect{6, 0, 4, 8}));
  EXPECT_DOUBLE_EQ(corner.lam, 1 - 32.0 / 200);
  EXPECT_DOUBLE_EQ(cutmix_blend({10, 20}, 1, 5, 10).lam, 1);
  EXPECT_DOUBLE_EQ(cutmix_blend({10, 20}, 0, 5, 10).lam, 0);
}

TEST(Mix, CutmixPastesThePartnersBox) {
  const auto [image, target] =
      mix(numbered(2, 4), at::tensor({0, 1}), 2, 0, {cutmix_blend({4, 4}, 0.75, 3, 1)});
  // ratio 0.5, a box of 2 x 2 around (3, 1): rows 2, 3 and columns 0, 1.
  const auto pasted = at::zeros({4, 4});
  pasted.narrow(0, 2, 2).narrow(1, 0, 2).fill_(1);
  EXPECT_TRUE(at::equal(image[0][0], pasted));
  EXPECT_TRUE(at::equal(image[1][0], 1 - pasted));
  EXPECT_TRUE(at::allclose(target, at::tensor({0.75, 0.25, 0.25, 0.75}).to(at::kFloat).view({2, 2})));
}

TEST(Mix, EachRowMayHaveItsOwnBlend) {
  const auto [image, target] = mix(numbered(4, 2), at::tensor({0, 1, 2, 3}), 4, 0,
                                   {Blend{}, Blend{0.5, {}}, Blend{0.5, io::Rect{0, 0, 1, 2}}, Blend{}});
  EXPECT_TRUE(at::equal(image[0], at::zeros({1, 2, 2})));
  EXPECT_TRUE(at::equal(image[1], at::full({1, 2, 2}, 1.5)));
  EXPECT_TRUE(at::equal(image[2][0], at::tensor({1.0F, 1.0F, 2.0F, 2.0F}).view({2, 2})));
  EXPECT_TRUE(at::equal(image[3], at::full({1, 2, 2}, 3.0)));
  EXPECT_TRUE(at::equal(target[2], at::tensor({0.0F, 0.5F, 0.5F, 0.0F})));
  EXPECT_TRUE(at::equal(target[3], at::tensor({0.0F, 0.0F, 0.0F, 1.0F})));
}

TEST(Mix, EqualsTheGoldenCase) {
  LACUNA_NEEDS_SHARED("goldens/mae/finetune");
  const auto folder = testing::shared_folder() / "goldens/mae/finetune";
  const auto in = io::load_safetensors(folder / "inputs.safetensors");
  const auto out = io::load_safetensors(folder / "outputs.safetensors");
  const auto& image = in.at("imgs");
  const double lam = in.at("lam").item<double>();
  Blend blend{lam, {}};
  if (in.count("cut_center") != 0) {
    const auto center = in.at("cut_center").to(at::kLong);
    blend = cutmix_blend({image.size(2), image.size(3)}, lam, center[0].item<int64_t>(),
                         center[1].item<int64_t>());
  }
  const auto& target = out.at("soft_target");
  const auto mixed = mix(image, in.at("labels"), target.size(1), 0.1, {blend});
  EXPECT_TRUE(at::allclose(mixed.image, out.at("mixed"), 1e-6, 1e-6));
  EXPECT_TRUE(at::allclose(mixed.target, target, 1e-6, 1e-7));
}

TEST(DrawBeta, HasTheMomentsOfBeta) {
  for (const auto& [a, b] : {std::pair{0.2, 0.2}, {0.8, 0.8}, {1.0, 1.0}, {2.0, 5.0}, {0.5, 3.0}}) {
    Stream random(1, "beta");
    constexpr int kCount = 200000;
    double sum = 0, squares = 0;
    for (int i = 0; i < kCount; ++i) {
      const double x = draw_beta(a, b, random);
      ASSERT_TRUE(x >= 0 && x <= 1);
      sum += x;
      squares += x * x;
    }
    const double mean = a / (a + b), variance = a * b / ((a + b) * (a + b) * (a + b + 1));
    EXPECT_NEAR(sum / kCount, mean, 5 * std::sqrt(variance / kCount)) << a << ", " << b;
    EXPECT_NEAR(squares / kCount - sum / kCount * sum / kCount, variance, 0.01 * variance) << a << ", " << b;
  }
  Stream random(1, "beta");
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(std::isfinite(draw_beta(1e-4, 1e-4, random)));
}

TEST(Mixup, DrawsOncePerBatchPairOrPicture) {
  MixupConfig config;
  for (const auto& [mode, distinct] : {std::pair{"batch", 1U}, {"pair", 3U}, {"elem", 6U}}) {
    config.mode = mode;
    const Mixup mixup(config, 3);
    Stream random(3, "mixup"), again(3, "mixup");
    const auto blends = mixup.draw(6, {8, 8}, random);
    std::set<double> lams;
    for (const auto& blend : blends) lams.insert(blend.lam);
    EXPECT_EQ(lams.size(), distinct) << mode;
    EXPECT_EQ(blends[0].lam, mixup.draw(6, {8, 8}, again)[0].lam);
    if (std::string(mode) == "pair") {
      EXPECT_EQ(blends[1].lam, blends[4].lam);
    }
  }
  config.mode = "pair";
  Stream random(3, "mixup");
  const auto blends = Mixup(config, 3).draw(5, {8, 8}, random);
  EXPECT_EQ(blends.size(), 5U);
  EXPECT_EQ(blends[2].lam, 1);  // nobody's partner
}

TEST(Mixup, SharesFollowTheConfig) {
  const auto shares = [](const MixupConfig& config) {
    const Mixup mixup(config, 3);
    Stream random(4, "mixup");
    int mixed = 0, boxes = 0;
    for (int i = 0; i < 4000; ++i) {
      const auto blend = mixup.draw(2, {64, 64}, random).front();
      boxes += blend.box ? 1 : 0;
      mixed += blend.box || blend.lam < 1 ? 1 : 0;
    }
    return std::pair{mixed / 4000.0, boxes / 4000.0};
  };
  MixupConfig config;
  config.prob = 0.6;
  config.switch_prob = 0.25;
  EXPECT_NEAR(shares(config).first, 0.6, 0.03);
  EXPECT_NEAR(shares(config).second, 0.15, 0.03);
  config.cutmix_alpha = 0;
  EXPECT_EQ(shares(config).second, 0);
  config.mixup_alpha = 0;
  EXPECT_EQ(shares(config).first, 0);
  config.cutmix_alpha = 1;
  config.prob = 1;
  EXPECT_EQ(shares(config), (std::pair{1.0, 1.0}));
}

TEST(Mixup, MinmaxBoundsTheBox) {
  MixupConfig config;
  config.cutmix_minmax = {0.25, 0.5};
  config.switch_prob = 1;
  const Mixup mixup(config, 3);
  Stream random(5, "mixup");
  for (int i = 0; i < 500; ++i) {
    const auto blend = mixup.draw(2, {40, 80}, random).front();
    ASSERT_TRUE(blend.box);
    EXPECT_TRUE(blend.box->height >= 10 && blend.box->height < 20);
    EXPECT_TRUE(blend.box->width >= 20 && blend.box->width < 40);
    EXPECT_LE(blend.box->top + blend.box->height, 40);
    EXPECT_LE(blend.box->left + blend.box->width, 80);
    EXPECT_DOUBLE_EQ(blend.lam, 1 - static_cast<double>(blend.box->height * blend.box->width) / 3200);
  }
  config.cutmix_minmax = {0.5};
  EXPECT_THROW(Mixup(config, 3), Error);
  config.cutmix_minmax = {0.5, 0.25};
  EXPECT_THROW(Mixup(config, 3), Error);
}

TEST(Mixup, WithoutMixingLabelsAreOnlySmoothed) {
  MixupConfig config;
  config.mixup_alpha = config.cutmix_alpha = 0;
  EXPECT_FALSE(config.mixes());
  const auto batch = batch_of(numbered(2, 4), {1, 0});
  const auto [image, target] = Mixup(config, 2)(batch, Stream(0, "mixup"));
  EXPECT_TRUE(at::equal(image, batch.image));
  EXPECT_TRUE(at::allclose(target, at::tensor({0.05, 0.95, 0.95, 0.05}).to(at::kFloat).view({2, 2})));
}

TEST(Mixup, NamesTheRecordWithoutALabel) {
  const auto message = [](std::vector<int64_t> labels) -> std::string {
    try {
      Mixup({}, 3)(batch_of(numbered(2, 4), labels), Stream(0, "mixup"));
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(message({0, 2}), "no error");
  EXPECT_EQ(message({0, kNoLabel}),
            "record1: has no label; leave it out, or use data whose records all have one");
  EXPECT_EQ(
      message({3, 0}),
      "record0: has label 3, but there are 3 classes; use data with the classes that the head was made for");
}

}  // namespace
}  // namespace lacuna::data
