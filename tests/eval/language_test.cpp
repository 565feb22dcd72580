#include "lacuna/eval/language.h"

#include <gtest/gtest.h>

#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna::eval {
namespace {

struct Small {
  Small() {
    MeapConfig config;
    config.encoder = {.vocab_size = 320,
                      .context = 64,
                      .embed_dim = 16,
                      .depth = 2,
                      .num_heads = 4,
                      .num_kv_heads = 2,
                      .mlp_dim = 24};
    config.mask.token_id = 258;
    SeededDraws draws(1);
    method = std::make_shared<Meap>(config, draws);
  }
  LanguageModel model() const { return {*method, text::open_tokenizer("bytes"), torch::kCPU}; }
  std::shared_ptr<Meap> method;
};

TEST(Language, ScoresAreLogProbabilities) {
  const Small small;
  const auto model = small.model();
  const auto tokens = padded_tokens({model.tokens("hello"), model.tokens("a")});
  EXPECT_EQ(tokens[1][2].item<int64_t>(), -1);
  const auto scores = token_scores(model, tokens);
  const auto& network = small.method->network();
  const auto by_hand = network.logits(network.hidden(tokens.slice(0, 0, 1).slice(1, 0, 5))).log_softmax(-1);
  for (int64_t t = 0; t < 5; ++t)
    EXPECT_NEAR(scores[0][t].item<double>(), by_hand[0][t][tokens[0][t + 1].item<int64_t>()].item<double>(),
                1e-5);
  EXPECT_EQ(scores[1][1].item<double>(), 0);
}

TEST(Language, GreedyTextIsWhatTheModelFindsRight) {
  const Small small;
  const auto model = small.model();
  const auto prompt = model.tokens("some text");
  GenerateConfig config;
  config.tokens = 6;
  const auto more = continue_text(model, prompt, config, Stream(0, "test"));
  auto whole = prompt;
  whole.insert(whole.end(), more.begin(), more.end());
  EXPECT_TRUE(answered(model, {{whole, std::ssize(prompt)}}, 4)[0]);
  whole.back() = (whole.back() + 1) % 256;
  EXPECT_FALSE(answered(model, {{whole, std::ssize(prompt)}}, 4)[0]);
}

TEST(Language, DrawsFollowSeedAndLimits) {
  const Small small;
  const auto model = small.model();
  GenerateConfig config;
  config.temperature = 1, config.tokens = 20;
  const auto draw = [&](uint64_t seed) {
    return continue_text(model, model.tokens("x"), config, Stream(seed, "test"));
  };
  EXPECT_EQ(draw(1), draw(1));
  EXPECT_NE(draw(1), draw(2));
  config.top_k = 1;
  const auto one = draw(1);
  config.top_k = 0, config.top_p = 0;
  EXPECT_EQ(draw(2), one);  // both leave the likeliest alone
  config.tokens = 1000;
  EXPECT_LE(draw(1).size(), 62u);  // the context ends
  EXPECT_THROW(continue_text(model, model.tokens(std::string(80, 'x')), config, Stream(0, "test")), Error);
}

TEST(Language, ACloseBeginsBehindThePrompt) {
  const Small small;
  const auto model = small.model();
  const auto cloze = make_cloze(model, "The code is ", "482");
  EXPECT_EQ(cloze.tokens.size(), 1u + 12 + 3);
  EXPECT_EQ(cloze.answer, 1 + 11);  // the blank may belong to the answer
}

}  // namespace
}  // namespace lacuna::eval
