#include "lacuna/method/speech_ctc.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/train/config.h"
#include "lacuna/train/optim.h"

namespace lacuna {
namespace {

SpeechCtcConfig tiny(bool weighted = false) {
  SpeechCtcConfig config;
  config.encoder.arch = "hubert";
  config.encoder.conv_layers = "[(16,10,5)] + [(16,8,8)] * 2";
  config.encoder.embed_dim = 16, config.encoder.depth = 2, config.encoder.num_heads = 2;
  config.encoder.conv_pos = 8, config.encoder.conv_pos_groups = 2;
  config.encoder.layerdrop = 0, config.encoder.activation_dropout = 0;
  config.encoder.feature_grad_mult = 1;
  config.mask.prob = 0, config.channel_mask.prob = 0;
  config.head.tokens = {"a", "b", "c"};
  config.head.weighted = weighted;
  return config;
}

Batch sounds(bool tokens = true) {
  Batch batch;
  batch.wave = SeededDraws(3).normal("wave", {3, 9600}) * 0.1;
  batch.wave_length = torch::tensor({9600, 9600, 4800}, torch::kLong);
  batch.wave[2].slice(0, 4800).zero_();
  batch.sample = {0, 1, 2};
  if (tokens) batch.tokens = torch::tensor({0, 1, 2, 2, -1, -1, 1, 0, -1}, torch::kLong).view({3, 3});
  return batch;
}

std::shared_ptr<SpeechCtc> make(const SpeechCtcConfig& config) {
  SeededDraws draws(1);
  return std::make_shared<SpeechCtc>(config, draws);
}

TEST(SpeechCtc, LossIsTheSumOverAlignments) {
  const auto model = make(tiny());
  model->eval();
  SeededDraws draws(5);
  auto one = sounds().select({1});  // says "c": any frames of blank, then c, then blank
  const auto heard = model->hear(one);
  const auto p = heard.log_probs[0].exp().to(torch::kDouble);
  const int64_t T = heard.length[0].item<int64_t>();
  double sum = 0;
  for (int64_t first = 0; first < T; ++first)
    for (int64_t last = first; last < T; ++last) {
      double path = 1;
      for (int64_t t = 0; t < T; ++t) path *= p[t][t >= first && t <= last ? 3 : 0].item<double>();
      sum += path;
    }
  EXPECT_NEAR(model->forward(one, draws).total.item<double>(), -std::log(sum), 1e-3);
}

TEST(SpeechCtc, LearnsItsTranscriptsByHeart) {
  for (const bool weighted : {false, true}) {
    const auto model = make(tiny(weighted));
    const auto optimizer = train::make_adamw(train::parameter_groups(*model, 0), 0.9, 0.98);
    double first = 0, last = 0;
    for (int step = 0; step < 60; ++step) {
      model->train();
      SeededDraws draws(5);
      const auto loss = model->forward(sounds(), draws).total;
      optimizer->zero_grad();
      loss.backward();
      optimizer->step(weighted ? 3e-2 : 3e-3);
      last = loss.item<double>();
      if (step == 0) first = last;
    }
    EXPECT_LT(last, 0.6 * first);
  }
}

TEST(SpeechCtc, EncoderIsFrozenForItsShareOfTheSteps) {
  auto config = tiny();
  config.head.freeze_share = 0.5;
  const auto model = make(config);
  const auto learns = [&](int64_t step) {
    model->zero_grad();
    model->before_step({.step = step, .steps = 100});
    SeededDraws draws(5);
    model->forward(sounds(), draws).total.backward();
    const auto parameters = model->named_parameters();
    EXPECT_TRUE(parameters["w2v_encoder.proj.weight"].grad().defined());
    return parameters["w2v_encoder.w2v_model.encoder.layers.0.fc1.weight"].grad().defined();
  };
  EXPECT_FALSE(learns(0));
  EXPECT_FALSE(learns(49));
  EXPECT_TRUE(learns(50));
}

TEST(SpeechCtc, TakesAPreTrainedEncoderWithoutItsPredictor) {
  SpeechTargetsConfig source;
  source.encoder = tiny().encoder;
  source.target.num_classes = {5};
  SeededDraws draws(9);
  const SpeechTargets pretrained(source, draws);
  const auto model = make(tiny());
  load_weights(*model, model->adapt(pretrained.weights(), {}), "test");
  EXPECT_TRUE(model->weights()
                  .at("w2v_encoder.w2v_model.encoder.layers.1.fc2.weight")
                  .equal(pretrained.weights().at("encoder.layers.1.fc2.weight")));
  EXPECT_EQ(model->weights().count("w2v_encoder.w2v_model.label_embs_concat"), 0U);
}

TEST(SpeechCtc, TransformersNamesGoThereAndBack) {
  const auto names = Registry<MethodInfo>::instance().get("speech-ctc").names;
  const auto model = make(tiny());
  auto hf = names.from_official(model->weights(), "hf");
  EXPECT_EQ(hf.count("hubert.encoder.layers.1.attention.k_proj.weight"), 1U);
  EXPECT_EQ(hf.count("lm_head.bias"), 1U);
  ASSERT_TRUE(names.to_official(hf));
  for (const auto& [name, tensor] : model->weights()) {
    ASSERT_EQ(hf.count(name), 1U) << name;
    EXPECT_TRUE(hf.at(name).equal(tensor)) << name;
  }
  EXPECT_EQ(hf.size(), model->weights().size());
  const auto inferred = names.infer(hf);
  EXPECT_EQ(inferred["head"]["tokens"].size(), 3U);
  EXPECT_THROW(names.from_official(make(tiny(true))->weights(), "hf"), Error);
}

TEST(SpeechCtc, SaysWhatIsWrong) {
  const auto model = make(tiny());
  SeededDraws draws(5);
  EXPECT_THROW(model->forward(sounds(false), draws), Error);
  auto config = tiny();
  config.head.tokens.clear();
  EXPECT_THROW(make(config), Error);
}

}  // namespace
}  // namespace lacuna
