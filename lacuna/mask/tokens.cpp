#include "lacuna/mask/tokens.h"

#include "lacuna/core/mersenne.h"
#include "lacuna/core/torch.h"

namespace lacuna::mask {

void TokenMaskConfig::fields(Fields& f) {
  f("ratio", ratio, "share of the input tokens that is replaced by [MASK]; 0: plain next-token prediction")
      .range(0, 1);
  f("shared_over_batch", shared_over_batch,
    "one set of positions for all texts of a step, drawn by Python's generator as officially; else each text "
    "its own");
  f("keep_last", keep_last, "the last input token is never masked");
  f("token_id", token_id, "number of [MASK]; filled from the tokenizer").range(0);
  f("seed", seed, "shared: the generator's seed is this + (step mod sets)").range(0);
  f("sets", sets, "shared: how many sets of positions ever occur; 0: another one at each step").range(0);
}

int64_t masked_count(const TokenMaskConfig& config, int64_t tokens) {
  const int64_t choice = tokens - (config.keep_last ? 1 : 0);
  if (config.ratio <= 0 || choice < 1) return 0;
  return std::min(choice,
                  std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(tokens) * config.ratio)));
}

torch::Tensor shared_positions(const TokenMaskConfig& config, int64_t tokens, int64_t step) {
  PythonRandom random(static_cast<uint64_t>(config.seed + (config.sets > 0 ? step % config.sets : step)));
  return torch::tensor(random.sample(tokens - (config.keep_last ? 1 : 0), masked_count(config, tokens)),
                       torch::kLong);
}

torch::Tensor own_positions(const TokenMaskConfig& config, int64_t texts, int64_t tokens, Draws& draws) {
  auto key = draws.uniform("mask", {texts, tokens});
  if (config.keep_last) key.select(1, tokens - 1).fill_(2);  // sorts behind all others
  const auto chosen = key.argsort(/*stable=*/true, 1).slice(1, 0, masked_count(config, tokens));
  return torch::zeros({texts, tokens}, torch::kBool).scatter(1, chosen, true);
}

}  // namespace lacuna::mask
