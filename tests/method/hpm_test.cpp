#include "lacuna/method/hpm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/io/safetensors.h"
#include "lacuna/method/mae.h"
#include "tests/support/pictures.h"
#include "tests/support/tiny.h"

namespace lacuna {
namespace {

using lacuna::testing::TemporaryFolder;
using ::testing::HasSubstr;

HPMConfig small_config() {
  HPMConfig config;
  config.encoder.arch = "vit";
  config.encoder.img_size = {32, 32}, config.encoder.patch_size = {8, 8};
  config.encoder.embed_dim = 16, config.encoder.depth = 2, config.encoder.num_heads = 2;
  config.decoder = {.embed_dim = 16, .depth = 1, .num_heads = 2};
  return config;
}

std::shared_ptr<HPM> make_hpm(const HPMConfig& config) {
  SeededDraws draws(5);
  return std::make_shared<HPM>(config, draws);
}

Batch pictures(int64_t count) {
  Batch batch;
  batch.image = SeededDraws(2).normal("image", {count, 3, 32, 32});
  return batch;
}

double loss_of(HPM& model, const Batch& batch, uint64_t seed = 9) {
  SeededDraws draws(seed);
  return model.forward(batch, draws).total.item<double>();
}

// The formula as printed, over ordered pairs.
double printed_ranking_loss(const Tensor& s, const Tensor& t) {
  double sum = 0, pairs = 0;
  for (int64_t b = 0; b < s.size(0); ++b)
    for (int64_t i = 0; i < s.size(1); ++i)
      for (int64_t j = 0; j < s.size(1); ++j) {
        const double ti = t[b][i].item<double>(), tj = t[b][j].item<double>();
        if (ti == tj) continue;
        const double p = 1 / (1 + std::exp(s[b][i].item<double>() - s[b][j].item<double>()));
        sum -= std::log((tj > ti ? p : 1 - p) + 1e-6);
        ++pairs;
      }
  return sum / pairs;
}

TEST(RankingLoss, IsTheFormulaOverAllPairsThatAreNoTies) {
  const auto predicted = SeededDraws(1).normal("s", {3, 7});
  auto truth = SeededDraws(2).normal("t", {3, 7});
  truth[0][1] = truth[0][4];
  truth[2].fill_(0.5);
  EXPECT_NEAR(ranking_loss(predicted, truth).item<double>(), printed_ranking_loss(predicted, truth), 1e-6);
}

TEST(RankingLoss, OfNothingButTiesIsZeroAndNoNaN) {
  const auto predicted = torch::randn({2, 5}).requires_grad_();
  const auto loss = ranking_loss(predicted, torch::ones({2, 5}));
  loss.backward();
  EXPECT_EQ(loss.item<double>(), 0);
  EXPECT_EQ(predicted.grad().abs().max().item<double>(), 0);
}

TEST(RegressionLoss, StandardisesEachPicture) {
  const auto predicted = torch::zeros({1, 3}), truth = torch::tensor({{1.F, 2.F, 3.F}});  // -1, 0, 1
  EXPECT_NEAR(regression_loss(predicted, truth).item<double>(), 2.0 / 3, 1e-5);
}

// The baseline of `lacuna reproduce hpm`.
TEST(HPM, WithoutALossPredictorItIsMAE) {
  auto config = small_config();
  config.loss.learn = "none", config.mask.guide = false, config.loss.norm_pix = true;
  const auto model = make_hpm(config);
  MAEConfig plain;
  plain.encoder = config.encoder, plain.decoder = config.decoder;
  SeededDraws draws(5);
  MAE mae(plain, draws);
  const auto own = model->weights(), theirs = mae.weights();
  ASSERT_EQ(own.size(), theirs.size());
  for (const auto& [name, tensor] : own) EXPECT_TRUE(tensor.equal(theirs.at(name))) << name;
  const auto batch = pictures(3);
  const auto noise = SeededDraws(4).normal("noise", {3, 16});
  RecordedDraws a({{"noise", noise}}), b({{"noise", noise}});
  EXPECT_NEAR(model->forward(batch, a).total.item<double>(), mae.forward(batch, b).total.item<double>(),
              1e-6);
}

TEST(HPM, MaskFollowsTheTeacherMoreAndMore) {
  const auto model = make_hpm(small_config());
  const auto image = pictures(4).image;
  const auto by_loss = model->teacher_loss(image).argsort(/*stable=*/true, 1, false);
  for (const auto& [epoch, hard] : std::vector<std::pair<double, int64_t>>{{0, 0}, {3, 2}, {9, 6}, {10, 6}}) {
    model->before_step({.step = 0, .steps = 1, .epoch = epoch, .epochs = 10});
    SeededDraws draws(1);
    const auto hidden = model->draw_mask(image, draws).is_hidden();
    EXPECT_TRUE(hidden.sum(1).eq(12).all().item<bool>());
    if (hard > 0) EXPECT_TRUE(hidden.gather(1, by_loss.slice(1, 16 - hard)).all().item<bool>()) << epoch;
    SeededDraws again(1);
    EXPECT_NEAR(model->forward(pictures(4), again).stats.at("mask.hard_share"), hard / 12.0, 1e-12);
  }
}

TEST(HPM, TeacherFollowsTheStudentByTheDecayOfTheEpoch) {
  const auto model = make_hpm(small_config());
  const auto before = model->ema()->average().at("norm.weight").clone();
  {
    const torch::NoGradGuard no_grad;
    model->weights().at("norm.weight").add_(1);
  }
  EXPECT_TRUE(model->ema()->average().at("norm.weight").equal(before));
  model->before_step({.step = 5, .steps = 10, .epoch = 50.7, .epochs = 200});
  EXPECT_NEAR(model->decay(), 0.99945, 1e-12);
  model->after_step({});
  EXPECT_NEAR((model->ema()->average().at("norm.weight") - before)[0].item<double>(), 0.00055, 1e-6);
  EXPECT_EQ(model->weights().count("ema.norm.weight"), 0U);  // no part of the official weights
}

TEST(HPM, OnlyTheStudentGetsGradients) {
  for (const std::string target : {"pixel", "ema"}) {
    auto config = small_config();
    config.loss.target = target;
    const auto model = make_hpm(config);
    SeededDraws draws(1);
    model->forward(pictures(3), draws).total.backward();
    for (const auto& item : model->named_parameters()) {
      const bool trained = item.value().requires_grad();
      EXPECT_EQ(item.value().grad().defined(), trained) << item.key();
      if (item.key().starts_with("ema.")) EXPECT_FALSE(trained) << item.key();
    }
  }
}

TEST(HPM, FeatureLossIsADistanceOfDirections) {
  auto config = small_config();
  config.loss.target = "ema";
  const auto model = make_hpm(config);
  const auto batch = pictures(2);
  SeededDraws draws(1);
  const auto shuffle = model->draw_mask(batch.image, draws);
  const auto wanted =
      nn::gather_tokens(model->student().encode_all(batch.image).slice(1, 1), shuffle.hidden());
  const torch::NoGradGuard no_grad;  // the teacher still equals the student
  EXPECT_NEAR(model->patch_loss(batch.image, shuffle, 3 * wanted).abs().max().item<double>(), 0, 1e-5);
  EXPECT_NEAR(model->patch_loss(batch.image, shuffle, -wanted).mean().item<double>(), 4, 1e-4);
}

TEST(HPM, SecondaryMaskBlanksVisiblePatches) {
  auto config = small_config();
  config.mask.vis_mask_ratio = 0.5;
  const auto model = make_hpm(config);
  SeededDraws draws(1), others(2);
  const auto image = pictures(2).image;
  const auto shuffle = model->draw_mask(image, draws);
  const auto& student = model->student();
  const auto whole = student.encode(image, shuffle, nullptr, nullptr),
             one = student.encode(image, shuffle, nullptr, &draws),
             other = student.encode(image, shuffle, nullptr, &others);
  EXPECT_GT((whole - one).abs().max().item<double>(), 1e-3);
  EXPECT_GT((other - one).abs().max().item<double>(), 1e-3);
  EXPECT_TRUE(model->weights().count("vis_mask_token"));
  EXPECT_GT(loss_of(*model, pictures(2)), 0);
}

TEST(HPM, PreviewShowsThePredictedLossAndHowTheMaskWasMade) {
  const auto model = make_hpm(small_config());
  model->before_step({.step = 0, .steps = 1, .epoch = 9, .epochs = 10});
  SeededDraws draws(1);
  const auto shown = model->preview(pictures(2), draws);
  EXPECT_TRUE(shown.heat.equal(model->teacher_loss(pictures(2).image).view({2, 4, 4})));
  EXPECT_EQ(shown.heat_title, "loss map");
  EXPECT_EQ(shown.hidden_note, "6 of 12 by loss");
}

// Silence and constants: every patch of a grey picture is equally easy.
TEST(HPM, AConstantPictureGivesAFiniteLoss) {
  for (const bool norm_pix : {false, true}) {
    auto config = small_config();
    config.loss.norm_pix = norm_pix;
    const auto model = make_hpm(config);
    Batch batch;
    batch.image = torch::zeros({2, 3, 32, 32});
    EXPECT_TRUE(std::isfinite(loss_of(*model, batch)));
  }
}

std::string refusal(const std::vector<std::string>& settings) {
  train::RunConfig config("hpm");
  for (const auto& setting : settings) config.table.set_assignment(setting, "test");
  try {
    config.resolve();
    config.make_method()->prepare_training();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(HPM, RefusesWhatCanNotBeTrained) {
  EXPECT_THAT(refusal({"loss.learn=none", "mask.guide=true"}), HasSubstr("use mask.guide = false"));
  EXPECT_THAT(refusal({"encoder.arch=vit", "encoder.img_size=32", "mask.ratio=0.2"}),
              HasSubstr("hides a single patch"));
  EXPECT_THAT(refusal({"mask.vis_mask_ratio=1"}), HasSubstr("leaves none"));
  EXPECT_THAT(refusal({"mask.ratio=1"}), HasSubstr("none visible"));
  EXPECT_EQ(refusal({"loss.learn=none", "encoder.arch=vit_tiny"}), "");  // guide follows
}

const std::vector<std::string> kTiny = {"encoder.arch=vit",     "encoder.img_size=32", "encoder.patch_size=8",
                                        "encoder.embed_dim=16", "encoder.depth=1",     "encoder.num_heads=2",
                                        "decoder.embed_dim=64", "decoder.depth=1",     "decoder.num_heads=2"};

std::vector<std::string> tiny_and(std::vector<std::string> more) {
  more.insert(more.begin(), kTiny.begin(), kTiny.end());
  return more;
}

/// A DINO file 64 wide for 32 x 32 pictures cut into `patch`.
void write_dino(const io::fs::path& file, int64_t patch) {
  nn::ViTConfig config;
  config.arch = "vit", config.pos_embed = "learned";
  config.img_size = {32, 32}, config.patch_size = {patch, patch};
  config.embed_dim = 64, config.depth = 2, config.num_heads = 1;
  const auto vit = std::make_shared<nn::ViT>(config);
  SeededDraws draws(8);
  vit->initialize(draws);
  auto tensors = nn::named_tensors(*vit);
  tensors["head.weight"] = torch::zeros({3, 64});  // passed over
  io::save_safetensors(file, tensors);
}

TEST(HPM, LearnsTheFeaturesOfAFile) {
  const TemporaryFolder folder;
  write_dino(folder / "dino.safetensors", 8);
  train::RunConfig config("hpm");
  for (const auto& setting :
       tiny_and({"loss.target=dino", "loss.teacher=" + (folder / "dino.safetensors").string()}))
    config.table.set_assignment(setting, "test");
  config.resolve();
  const auto model = config.make_method();
  model->prepare_training();
  SeededDraws draws(1);
  const auto loss = model->forward(pictures(2), draws);
  EXPECT_GT(loss.parts.at("recon").item<double>(), 0);
  EXPECT_LT(loss.parts.at("recon").item<double>(), 4);
  for (const auto& [name, tensor] : model->weights()) EXPECT_THAT(name, ::testing::Not(HasSubstr("dino")));
  SeededDraws others(1);
  EXPECT_FALSE(model->preview(pictures(2), others).predicted.defined());
}

TEST(HPM, SaysWhatIsWrongWithATeachersFile) {
  const TemporaryFolder folder;
  const auto file = (folder / "teacher.safetensors").string();
  const auto with = [&](const std::string& target, std::vector<std::string> more = {}) {
    more.push_back("loss.target=" + target);
    more.push_back("loss.teacher=" + file);
    return refusal(tiny_and(std::move(more)));
  };
  EXPECT_THAT(refusal(tiny_and({"loss.target=dino"})), HasSubstr("loss.teacher: is not given"));
  EXPECT_THAT(with("dino"), HasSubstr("teacher.safetensors"));  // not there
  write_dino(file, 8);
  EXPECT_EQ(with("dino"), "");
  EXPECT_THAT(with("clip"), HasSubstr("no ViT of clip"));
  EXPECT_THAT(with("dino", {"decoder.embed_dim=32"}), HasSubstr("use decoder.embed_dim = 64"));
  EXPECT_THAT(with("dino", {"encoder.in_chans=1"}), HasSubstr("channels"));
  write_dino(file, 16);
  EXPECT_THAT(with("dino"), HasSubstr("a teacher of 4 patches of 16x16"));
}

}  // namespace
}  // namespace lacuna
