// Pictures and texts from the command line: CLIP trained, asked, exported; masks tuned on it, packed,
// applied.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/support/whole_run.h"

namespace lacuna::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

const std::string kScenes = "synthetic:scenes?count=60&size=16";

const std::vector<std::string> kTower = {"data.mean=[0.5, 0.5, 0.5]", "data.std=[0.25, 0.25, 0.25]",
                                         "encoder.arch=clip_vit",     "encoder.img_size=16",
                                         "encoder.patch_size=8",      "encoder.embed_dim=16",
                                         "encoder.depth=1",           "encoder.num_heads=2",
                                         "text.embed_dim=16",         "text.depth=1",
                                         "text.num_heads=2",          "text.context_length=32",
                                         "projection.dim=8"};
const std::vector<std::string> kTrain = {
    "train.steps=4",   "train.batch_size=8",       "train.lr=1e-3",    "train.log_every=1",
    "train.workers=0", "train.checkpoint_every=2", "health.samples=8", "train.keep=20"};

fs::path make_clip(const TemporaryFolder& folder) {
  const auto run = folder / "clip";
  auto settings = kTower;
  settings.insert(settings.end(), kTrain.begin(), kTrain.end());
  run_whole(with_settings({"pretrain", "clip", "--data", kScenes, "--out", run.string()}, settings));
  return run;
}

TEST(Clip, IsTrainedAskedAndExported) {
  const TemporaryFolder folder;
  const auto run = make_clip(folder);
  EXPECT_TRUE(fs::exists(run / "previews/step-00000004.png"));
  const auto asked = json::parse(run_whole({"eval", "zeroshot", run.string(), "--json"}));
  EXPECT_EQ(asked["metrics"]["top1"].get<double>() >= 0, true);
  EXPECT_EQ(asked["settings"]["classes"].size(), 10U);
  const auto refused = run_program({"eval", "retrieval", run.string()});
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.err, HasSubstr("no captions to search"));

  // Two steps, then two more, are four.
  expect_resumed_alike(run, folder / "stopped");

  // transformers' names are read again as the same network.
  const auto hf = folder / "hf";
  run_whole({"export", run.string(), "--format", "hf", "--out", hf.string()});
  const auto description = json::parse(slurp(hf / "config.json"));
  EXPECT_EQ(description["vision_config"]["hidden_size"], 16);
  EXPECT_EQ(description["text_config"]["vocab_size"], 259);
  const auto again = json::parse(run_whole({"eval", "zeroshot", (hf / "model.safetensors").string(), "--data",
                                            kScenes, "--json", "--set", "encoder.num_heads=2", "--set",
                                            "text.num_heads=2", "--set", kTower[0], "--set", kTower[1]}));
  EXPECT_EQ(again["metrics"], asked["metrics"]);
}

TEST(RAmt, IsTunedPackedAndApplied) {
  const TemporaryFolder folder;
  const auto run = folder / "masks";
  std::string base = "base.settings=[\"data.classes=base\"";
  for (const auto* settings : {&kTower, &kTrain})
    for (const auto& setting : *settings) base += ", \"" + setting + "\"";
  auto settings = kTrain;
  settings.insert(settings.end(), {base + "]", "data.classes=new", "head.classes=new", "data.shots=4",
                                   "train.lr=0.004", "mask.modules=[\"conv1\", \"attn\", \"mlp\"]"});
  run_whole(with_settings({"pretrain", "r-amt", "--data", kScenes, "--out", run.string()}, settings));
  ASSERT_TRUE(fs::exists(run / "base/checkpoints/step-00000004"));
  const auto found = json::parse(run_whole({"eval", "masks", run.string(), "--json"}))["metrics"];
  EXPECT_GT(found["sparsity"].get<double>(), 0);
  for (const char* name : {"top1", "frozen_top1", "random_top1", "base_top1", "harmonic_top1"})
    EXPECT_TRUE(found.contains(name)) << name;

  expect_resumed_alike(run, folder / "stopped");

  const auto packed = folder / "packed";
  run_whole({"export", run.string(), "--format", "official", "--out", packed.string()});
  const auto file = packed / "model.safetensors";
  const auto inspected = json::parse(run_whole({"inspect", file.string(), "--json"}));
  EXPECT_EQ(inspected["method"], "r-amt");
  int64_t bytes = 0;
  for (const auto& tensor : inspected["tensors"]) bytes += tensor["shape"][0].get<int64_t>();
  // conv1 16*3*8*8, in_proj 48*16, out_proj 16*16, c_fc and c_proj 64*16: one bit each.
  EXPECT_EQ(bytes, (3072 + 768 + 256 + 1024 + 1024) / 8);
  EXPECT_EQ(json::parse(run_whole({"eval", "masks", file.string(), "--data", kScenes, "--json"}))["metrics"],
            found);
}

TEST(RAmt, FewShotsOverSeeds) {
  const TemporaryFolder folder;
  const auto clip = make_clip(folder);
  const auto out = folder / "few";
  const auto found = json::parse(run_whole(
      with_settings({"eval", "fewshot", clip.string(), "--data", kScenes, "--out", out.string(), "--json"},
                    {"fewshot.shots=[1, 2]", "fewshot.seeds=[1, 2]", "fewshot.tune=[\"r-amt\", \"head\"]",
                     "fewshot.train=base", "train.steps=2", "train.workers=0", "health.samples=8"})));
  for (const char* name :
       {"frozen_top1", "r-amt_top1_1", "r-amt_harmonic_top1_2", "head_deviation_2", "top1"})
    EXPECT_TRUE(found["metrics"].contains(name)) << name << found["metrics"].dump();
  EXPECT_TRUE(fs::exists(out / "r-amt-2-shots-seed2/config.toml"));
}

}  // namespace
}  // namespace lacuna::testing
