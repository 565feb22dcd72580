// From a checkpoint or a bare file to a result, on folders of small pictures.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/eval/protocol.h"
#include "tests/support/pictures.h"
#include "tests/support/tiny.h"

namespace lacuna::eval {
namespace {

using lacuna::testing::TemporaryFolder;
using lacuna::testing::tiny_config;
using lacuna::testing::write_file;
using ::testing::HasSubstr;

/// `each` pictures of 16 x 16 in DIR/<class>/; the classes differ in brightness.
void write_pictures(const io::fs::path& folder, int64_t each,
                    const std::vector<std::string>& classes = {"dark", "light"}) {
  for (size_t c = 0; c < classes.size(); ++c)
    for (int64_t i = 0; i < each; ++i) {
      const auto pixels = lacuna::testing::noise(16, 16, 3, static_cast<uint64_t>(i) + 1000 * c) / 4;
      write_file(folder / classes[c] / str(i, ".png"),
                 io::encode_png(pixels.to(at::kByte) + static_cast<int64_t>(150 * c)));
    }
}

/// A run folder whose one checkpoint is the untrained network.
std::shared_ptr<Method> write_run(const io::fs::path& run) {
  auto config = tiny_config("mae", {16, 16}, {4, 4}, 3);
  config->table.set("data.mean", {0.5, 0.5, 0.5}, "test");
  config->table.set("data.std", {0.25, 0.25, 0.25}, "test");
  const auto method = config->make_method();
  io::fs::create_directories(run);
  train::Checkpoint checkpoint{.model = method->weights(), .state = Json::object()};
  checkpoint.metadata = {{"lacuna.method", "mae"}, {"lacuna.config", config->to_toml()}};
  train::save_checkpoint(run, checkpoint);
  return method;
}

std::string uri(const io::fs::path& folder) { return "imagefolder:" + folder.string(); }

class EvaluateTest : public ::testing::Test {
 protected:
  EvaluateTest() {
    method = write_run(folder / "run");
    write_pictures(folder / "data", 20);
  }
  std::string run() const { return (folder / "run").string(); }

  TemporaryFolder folder;
  std::shared_ptr<Method> method;
};

TEST_F(EvaluateTest, KnnHoldsOutAFifthAndWritesTheResultIntoTheRun) {
  const auto result = evaluate("knn", run(), uri(folder / "data"), "", {"eval.k=[1, 5]"}, false);
  EXPECT_DOUBLE_EQ(result.metrics.at("top1").get<double>(), 1);  // brightness tells the classes apart
  EXPECT_DOUBLE_EQ(result.metrics.at("chance").get<double>(), 0.5);
  EXPECT_EQ(result.settings.at("bank_size"), 32);
  EXPECT_EQ(result.settings.at("test_size"), 8);
  EXPECT_THAT(result.test, HasSubstr("held out by seed 0"));
  EXPECT_EQ(Json::parse(io::read_file(folder / "run/evals/knn.json")), result.to_json());
}

TEST_F(EvaluateTest, LinearRunsOnASubsetAndAnotherTestSet) {
  write_pictures(folder / "other", 5);
  const auto result = evaluate(
      "linear", run(), uri(folder / "data"), uri(folder / "other"),
      {"eval.max_train=20", "eval.epochs=30", "eval.warmup_epochs=2", "eval.base_lr=[1, 3000]"}, false);
  EXPECT_DOUBLE_EQ(result.metrics.at("top1").get<double>(), 1);
  EXPECT_EQ(result.settings.at("train_size"), 18);  // nine of ten of each class
  EXPECT_EQ(result.settings.at("test_size"), 10);
  EXPECT_THAT(result.test, HasSubstr("other"));
}

TEST_F(EvaluateTest, RefusesWhatWouldMislead) {
  EXPECT_THROW(evaluate("knnn", run(), uri(folder / "data"), "", {}, false), Error);
  EXPECT_THROW(evaluate("knn", run(), uri(folder / "data"), uri(folder / "data"), {}, false),
               Error);  // test is train
  EXPECT_THROW(evaluate("knn", run(), uri(folder / "data"), "", {"eval.kk=[1]"}, false), Error);
  write_pictures(folder / "other", 3, {"dark", "green", "light"});
  EXPECT_THROW(evaluate("knn", run(), uri(folder / "data"), uri(folder / "other"), {}, false), Error);
  write_file(folder / "flat/a.png", lacuna::testing::png(16, 16, 3));
  EXPECT_THROW(evaluate("knn", run(), uri(folder / "flat"), "", {}, false), Error);  // no labels
}

TEST_F(EvaluateTest, FeaturesAreTheMethodsOwn) {
  const auto model = load_model(run());
  const auto features = extract_features(model, data::open_dataset(uri(folder / "data")), {.batch_size = 7});
  EXPECT_EQ(features.features.sizes(), (std::vector<int64_t>{40, 16}));
  EXPECT_EQ(features.labels.sum().item<int64_t>(), 20);
  const auto again =
      extract_features(model, data::open_dataset(uri(folder / "data")), {.batch_size = 40, .workers = 0});
  EXPECT_TRUE(torch::allclose(features.features, again.features, 1e-5, 1e-6));
}

TEST_F(EvaluateTest, ABareFileIsReadOffItsTensors) {
  auto encoder = method->weights();
  std::erase_if(encoder, [](const auto& item) {
    return item.first.find("decoder") != std::string::npos || item.first == "mask_token";
  });
  encoder["head.weight"] = torch::zeros({10, 16});
  const auto file = (folder / "encoder.safetensors").string();
  io::save_safetensors(file, encoder);
  EXPECT_THROW(load_model(file), Error);  // 16 is no multiple of 64: how many heads?
  const auto model = load_model(file, {"encoder.num_heads=2"});
  EXPECT_EQ(model.config->table.get("encoder.img_size"), Json({16, 16}));
  EXPECT_EQ(model.config->table.get("encoder.depth"), 2);
  EXPECT_EQ(model.normalization.mean, (std::vector<double>{0.485, 0.456, 0.406}));
  const auto batch = lacuna::testing::random_batch(*method, 3);
  method->eval();
  EXPECT_TRUE(torch::equal(model.method->features(batch, {}), method->features(batch, {})));
  encoder.erase("norm.weight");
  io::save_safetensors(file, encoder);
  EXPECT_THROW(load_model(file, {"encoder.num_heads=2"}), Error);  // only a decoder may be missing
}

}  // namespace
}  // namespace lacuna::eval
