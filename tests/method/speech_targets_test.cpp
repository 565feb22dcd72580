#include "lacuna/method/speech_targets.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/method/speech_targets_names.h"

namespace lacuna {
namespace {

SpeechTargetsConfig tiny(bool large = false) {
  SpeechTargetsConfig config;
  config.encoder.arch = "hubert";
  config.encoder.conv_layers = "[(16,10,5)] + [(16,8,8)] * 2";
  config.encoder.embed_dim = 16, config.encoder.depth = 2, config.encoder.num_heads = 2;
  config.encoder.conv_pos = 8, config.encoder.conv_pos_groups = 2;
  config.encoder.layerdrop = 0;
  if (large) config.encoder.pre_norm = true, config.encoder.conv_norm = "layer";
  config.predictor.final_dim = 8;
  config.target.num_classes = {5, 7};
  return config;
}

Batch sounds(const std::vector<int64_t>& lengths, bool labels = true) {
  const auto B = std::ssize(lengths);
  const int64_t N = *std::max_element(lengths.begin(), lengths.end());
  Batch batch;
  batch.wave = SeededDraws(3).normal("wave", {B, N}) * 0.1;
  batch.wave_length = torch::tensor(lengths, torch::kLong);
  for (int64_t b = 0; b < B; ++b) {
    batch.wave[b].slice(0, lengths[static_cast<size_t>(b)]).zero_();
    batch.sample.push_back(b);
    batch.key.push_back(str("sound ", b));
  }
  if (labels) batch.frame_label = torch::arange(N / 160).remainder(5).expand({B, 2, N / 160}).contiguous();
  return batch;
}

std::shared_ptr<SpeechTargets> make(const SpeechTargetsConfig& config) {
  SeededDraws draws(1);
  return std::make_shared<SpeechTargets>(config, draws);
}

TEST(SpeechTargets, LossIsAMeanOverHiddenFramesAndEveryPartLearns) {
  for (const bool large : {false, true}) {
    const auto model = make(tiny(large));
    SeededDraws draws(5);
    const auto loss = model->forward(sounds({9600, 9600, 9600}), draws);
    EXPECT_GT(loss.weight, 0);
    const double sum = loss.parts.at("m_0").item<double>() + loss.parts.at("m_1").item<double>() +
                       10 * loss.parts.at("features_pen").item<double>();
    EXPECT_NEAR(loss.total.item<double>(), sum, 1e-4);
    loss.total.backward();
    for (const auto& item : model->named_parameters())
      EXPECT_TRUE(item.value().grad().defined()) << item.key();
  }
}

TEST(SpeechTargets, FeaturesDoNotDependOnWhatFillsTheBatch) {
  for (const bool large : {false, true}) {
    const auto model = make(tiny(large));
    model->eval();
    const auto both = sounds({9600, 4800}, false);
    auto alone = both.select({1});
    alone.wave = alone.wave.slice(1, 0, 4800);
    const auto together = model->features(both, {})[1], own = model->features(alone, {})[0];
    EXPECT_LT((together - own).abs().max().item<double>(), 1e-5);
  }
}

TEST(SpeechTargets, FramesHaveALayerMoreThanBlocksAndTinyClipsAreFilled) {
  const auto model = make(tiny());
  model->eval();
  const auto frames = model->frames(sounds({5000, 100}, false));
  EXPECT_EQ(frames.layers.size(), 3U);
  EXPECT_EQ(frames.length[0].item<int64_t>(), model->config().encoder.frames(5000));
  EXPECT_EQ(frames.length[1].item<int64_t>(), 1);
  EXPECT_TRUE(model->features(sounds({5000, 100}, false), {}).isfinite().all().item<bool>());
}

TEST(SpeechTargets, SaysWhatIsWrong) {
  const auto model = make(tiny());
  SeededDraws draws(5);
  EXPECT_THROW(model->forward(sounds({9600}, false), draws), Error);  // no labels
  EXPECT_THROW(model->forward(sounds({100}), draws), Error);          // shorter than a frame
  EXPECT_THROW(nn::parse_conv_layers("[(512,10)]"), Error);
  EXPECT_EQ(nn::parse_conv_layers("[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2").size(), 7U);
}

TEST(SpeechTargets, FrontEndOfThePaperHasItsStrideAndField) {
  const nn::HubertConfig config;
  EXPECT_EQ(config.stride(), 320);
  EXPECT_EQ(config.field(), 400);
  EXPECT_EQ(config.frames(16000), 49);
}

TEST(SpeechTargets, TransformersNamesGoThereAndBack) {
  const auto names = speech_weight_names();
  for (const bool large : {false, true}) {
    const auto model = make(tiny(large));
    auto hf = names.from_official(model->weights(), "hf");
    EXPECT_EQ(hf.count("encoder.layers.1.attention.k_proj.weight"), 1U);
    EXPECT_EQ(hf.count("feature_projection.layer_norm.weight"), 1U);
    EXPECT_EQ(hf.count("encoder.pos_conv_embed.conv.parametrizations.weight.original0"), 1U);
    EXPECT_EQ(hf.count(large ? "feature_extractor.conv_layers.1.layer_norm.weight"
                             : "feature_extractor.conv_layers.0.layer_norm.weight"),
              1U);
    // The tiny network has no projection (C = D); a foreign file is known by it.
    hf["feature_projection.projection.weight"] = torch::zeros({1});
    ASSERT_TRUE(names.to_official(hf));
    for (const auto& [name, tensor] : model->weights())
      if (!name.starts_with("final_proj") && !name.starts_with("label_embs"))
        EXPECT_EQ(hf.count(name), 1U) << name;
    auto own = model->weights();
    EXPECT_FALSE(names.to_official(own));
    const auto inferred = names.infer(own);
    EXPECT_EQ(inferred["encoder"]["depth"], 2);
    EXPECT_EQ(inferred["encoder"]["pre_norm"], large);
  }
}

TEST(SpeechTargets, TorchaudiosNamesAreKnown) {
  // As hubert_pretrain_model of torchaudio 2 writes them.
  const std::map<std::string, std::string> wanted = {
      {"logit_generator.final_proj.bias", "final_proj.bias"},
      {"logit_generator.label_embeddings", "label_embs_concat"},
      {"mask_generator.mask_embedding", "mask_emb"},
      {"wav2vec2.encoder.feature_projection.layer_norm.bias", "layer_norm.bias"},
      {"wav2vec2.encoder.feature_projection.projection.weight", "post_extract_proj.weight"},
      {"wav2vec2.encoder.transformer.layer_norm.weight", "encoder.layer_norm.weight"},
      {"wav2vec2.encoder.transformer.layers.1.attention.q_proj.bias",
       "encoder.layers.1.self_attn.q_proj.bias"},
      {"wav2vec2.encoder.transformer.layers.0.feed_forward.output_dense.weight",
       "encoder.layers.0.fc2.weight"},
      {"wav2vec2.encoder.transformer.layers.0.layer_norm.bias", "encoder.layers.0.self_attn_layer_norm.bias"},
      {"wav2vec2.encoder.transformer.layers.0.final_layer_norm.bias",
       "encoder.layers.0.final_layer_norm.bias"},
      {"wav2vec2.encoder.transformer.pos_conv_embed.conv.parametrizations.weight.original0",
       "encoder.pos_conv.0.weight_g"},
      {"wav2vec2.feature_extractor.conv_layers.0.conv.weight", "feature_extractor.conv_layers.0.0.weight"},
      {"wav2vec2.feature_extractor.conv_layers.0.layer_norm.weight",
       "feature_extractor.conv_layers.0.2.weight"}};
  std::map<std::string, Tensor> tensors;
  for (const auto& [theirs, ours] : wanted) tensors[theirs] = torch::ones({2, 3});
  ASSERT_TRUE(speech_weight_names().to_official(tensors));
  EXPECT_EQ(tensors.size(), wanted.size());
  for (const auto& [theirs, ours] : wanted) EXPECT_EQ(tensors.count(ours), 1U) << theirs;
}

TEST(SpeechTargets, LayerDropIsAlikeInAllProcesses) {
  auto config = tiny();
  config.encoder.depth = 8;
  config.encoder.layerdrop = 0.5;
  config.encoder.dropout = config.encoder.attention_dropout = config.encoder.dropout_input = 0;
  config.mask.require_same = false;
  config.loss.features_pen = 0;
  const auto model = make(config);
  const auto whole = sounds({9600, 9600, 9600, 9600});
  const auto loss_of = [&](const std::vector<int64_t>& rows) {
    const auto batch = whole.select(rows);
    SeededDraws draws(5, 0, batch.sample);
    const auto loss = model->forward(batch, draws);
    return std::pair(loss.total.item<double>() * loss.weight, loss.weight);
  };
  std::set<double> seen;
  for (int64_t step = 0; step < 6; ++step) {
    model->before_step({.step = step, .steps = 10});
    const auto [all, S] = loss_of({0, 1, 2, 3});
    const auto [one, S1] = loss_of({0, 1});
    const auto [two, S2] = loss_of({2, 3});
    EXPECT_EQ(S, S1 + S2);
    EXPECT_NEAR((one + two) / all, 1, 1e-5);
    seen.insert(all);
  }
  EXPECT_GT(seen.size(), 3U) << "other blocks in other steps";
}

TEST(SpeechTargets, ChannelMaskIsOffUnlessAskedFor) {
  auto config = tiny();
  const auto batch = sounds({9600, 9600});
  SeededDraws draws(5);
  const auto plain = make(config);
  EXPECT_FALSE(plain->draw_mask(plain->hear(batch), draws).channels.defined());
  config.channel_mask.prob = 0.5, config.channel_mask.length = 4;
  const auto model = make(config);
  const auto mask = model->draw_mask(model->hear(batch), draws);
  EXPECT_EQ(mask.channels.sizes(), (std::vector<int64_t>{2, 16}));
  EXPECT_GT(mask.channels.sum().item<int64_t>(), 0);
  EXPECT_TRUE(std::isfinite(model->forward(batch, draws).total.item<double>()));
}

TEST(SpeechTargets, SilenceAndConstantsStayFinite) {
  for (const bool large : {false, true}) {
    const auto model = make(tiny(large));
    auto batch = sounds({9600, 9600});
    batch.wave[0].zero_();
    batch.wave[1].fill_(0.7);
    SeededDraws draws(5);
    const auto loss = model->forward(batch, draws);
    EXPECT_TRUE(std::isfinite(loss.total.item<double>()));
    loss.total.backward();
    for (const auto& item : model->named_parameters())
      if (item.value().grad().defined())
        EXPECT_TRUE(item.value().grad().isfinite().all().item<bool>()) << item.key();
  }
}

}  // namespace
}  // namespace lacuna
