#include "lacuna/train/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "lacuna/core/draws.h"
#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna::train {
namespace {

namespace fs = io::fs;
using testing::ElementsAre;
using testing::HasSubstr;

/// Every tensor is filled with the step, so that a mixture of two checkpoints would show.
Checkpoint make_checkpoint(int64_t step, int64_t size = 8) {
  Checkpoint checkpoint;
  checkpoint.step = step;
  checkpoint.position = {step / 10, step % 10};
  checkpoint.model = {{"blocks.0.weight", at::full({size, 3}, static_cast<float>(step))}};
  checkpoint.trainer = {{"exp_avg.blocks.0.weight", at::full({size, 3}, static_cast<float>(step))},
                        {"step.blocks.0.weight", at::full({}, static_cast<float>(step))}};
  checkpoint.state = {{"skipped", 2}, {"loss", 0.1 + 0.2}};
  checkpoint.metadata = {{"lacuna.method", "mae"}, {"lacuna.config", "[encoder]\ndepth = 4\n"}};
  return checkpoint;
}

bool is_of_step(const Checkpoint& checkpoint, int64_t step) {
  bool same = checkpoint.step == step && checkpoint.position == data::LoaderPosition{step / 10, step % 10};
  same = same && checkpoint.model.size() == 1 && checkpoint.trainer.size() == 2;
  for (const auto* tensors : {&checkpoint.model, &checkpoint.trainer})
    for (const auto& [name, tensor] : *tensors)
      same = same && (tensor == static_cast<float>(step)).all().item<bool>();
  return same;
}

class CheckpointTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "lacuna-checkpoint-XXXXXX").string();
    run_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override { fs::remove_all(run_); }

  fs::path folder(int64_t step) const {
    char name[32];
    std::snprintf(name, sizeof name, "step-%08lld", static_cast<long long>(step));
    return run_ / "checkpoints" / name;
  }
  void save(std::initializer_list<int64_t> steps) {
    for (const int64_t step : steps) save_checkpoint(run_, make_checkpoint(step));
  }
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& path : list_checkpoints(run_)) out.push_back(path.filename());
    return out;
  }

  fs::path run_;
};

template <class Call>
std::string error_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST_F(CheckpointTest, ComesBackAsItWasSaved) {
  save({123});
  const Checkpoint loaded = load_checkpoint(folder(123));
  EXPECT_TRUE(is_of_step(loaded, 123));
  EXPECT_EQ(loaded.metadata, make_checkpoint(123).metadata);
  EXPECT_EQ(loaded.state["skipped"], 2);
  EXPECT_EQ(loaded.state["loss"].get<double>(), 0.1 + 0.2);
  EXPECT_EQ(loaded.state["format"], 1);
  const Json state = Json::parse(io::read_file(folder(123) / "state.json"));
  EXPECT_EQ(state["step"], 123);
  EXPECT_EQ(state["position"], (Json{{"epoch", 12}, {"batch", 3}}));
}

TEST_F(CheckpointTest, IsListedByStepAndNothingElseIs) {
  save({5, 100000000, 20});
  fs::create_directory(run_ / "checkpoints" / "step-abc");
  fs::create_directory(run_ / "checkpoints" / ".step-00000030.tmp77");
  std::ofstream(run_ / "checkpoints" / "step-00000040") << "a file";
  EXPECT_THAT(names(), ElementsAre("step-00000005", "step-00000020", "step-100000000"));
  EXPECT_EQ(newest_checkpoint(run_)->step, 100000000);
  EXPECT_TRUE(list_checkpoints(run_ / "absent").empty());
  EXPECT_FALSE(newest_checkpoint(run_ / "absent"));
}

TEST_F(CheckpointTest, ReplacesOneOfTheSameStep) {
  save({7});
  Checkpoint again = make_checkpoint(7);
  again.state["skipped"] = 5;
  save_checkpoint(run_, again);
  EXPECT_EQ(load_checkpoint(folder(7)).state["skipped"], 5);
  EXPECT_EQ(std::distance(fs::directory_iterator(run_ / "checkpoints"), fs::directory_iterator{}), 1);
}

TEST_F(CheckpointTest, CutShortAnywhereIsAnErrorAndPassedOver) {
  save({10});
  for (const char* file : {"model.safetensors", "trainer.safetensors", "state.json"}) {
    save({20});
    const fs::path path = folder(20) / file;
    const std::string whole = io::read_file(path);
    for (const size_t length :
         {size_t{0}, size_t{1}, size_t{7}, size_t{8}, size_t{9}, whole.size() / 2, whole.size() - 3}) {
      std::ofstream(path, std::ios::trunc) << whole.substr(0, length);
      EXPECT_THAT(error_of([&] { load_checkpoint(folder(20)); }), HasSubstr(path.string())) << length;
      testing::internal::CaptureStderr();
      testing::internal::CaptureStdout();
      EXPECT_TRUE(is_of_step(newest_checkpoint(run_).value(), 10)) << file << ' ' << length;
      const std::string said =
          testing::internal::GetCapturedStderr() + testing::internal::GetCapturedStdout();
      EXPECT_THAT(said, HasSubstr("warning: broken checkpoint passed over: " + path.string()));
    }
    fs::remove(path);
    EXPECT_THAT(error_of([&] { load_checkpoint(folder(20)); }), HasSubstr(file));
  }
}

TEST_F(CheckpointTest, OfAnotherFormatIsRefused) {
  save({10});
  Json state = Json::parse(io::read_file(folder(10) / "state.json"));
  state["format"] = 2;
  std::ofstream(folder(10) / "state.json") << state;
  EXPECT_THAT(error_of([&] { load_checkpoint(folder(10)); }),
              HasSubstr("is of checkpoint format 2, this program reads 1"));
  state["format"] = 1;
  state["position"].erase("batch");
  std::ofstream(folder(10) / "state.json") << state;
  EXPECT_THAT(error_of([&] { load_checkpoint(folder(10)); }), HasSubstr("has no number at /position/batch"));
}

TEST_F(CheckpointTest, PruningKeepsTheLastAndTheBest) {
  save({10, 20, 30, 40, 50});
  mark_best(run_, 20);
  prune_checkpoints(run_, 2);
  EXPECT_THAT(names(), ElementsAre("step-00000020", "step-00000040", "step-00000050"));
  mark_best(run_, 40);
  save({60});
  prune_checkpoints(run_, 1);
  EXPECT_THAT(names(), ElementsAre("step-00000040", "step-00000060"));
}

TEST_F(CheckpointTest, PruningNeverCountsABrokenOne) {
  save({10, 20, 30});
  fs::resize_file(folder(20) / "model.safetensors", 20);
  fs::resize_file(folder(30) / "state.json", 2);
  prune_checkpoints(run_, 1);
  EXPECT_THAT(names(), ElementsAre("step-00000010", "step-00000020", "step-00000030"));
  save({40});
  // What a process killed while pruning leaves behind goes too.
  fs::rename(folder(20), run_ / "checkpoints" / ".pruned-step-00000020");
  prune_checkpoints(run_, 1);
  EXPECT_THAT(names(), ElementsAre("step-00000030", "step-00000040"));
  EXPECT_FALSE(fs::exists(run_ / "checkpoints" / ".pruned-step-00000020"));
}

TEST_F(CheckpointTest, BestIsARelativeLink) {
  EXPECT_FALSE(best_checkpoint(run_));
  save({10, 20});
  mark_best(run_, 10);
  EXPECT_EQ(fs::read_symlink(run_ / "checkpoints" / "best"), "step-00000010");
  mark_best(run_, 20);
  EXPECT_EQ(best_checkpoint(run_), folder(20));
  fs::remove_all(folder(20));
  EXPECT_FALSE(best_checkpoint(run_));
}

TEST_F(CheckpointTest, WeightsAreFoundWhereverTheyLie) {
  save({10, 20, 30});
  mark_best(run_, 10);
  const auto value = [](const Weights& weights) {
    return weights.tensors.at("blocks.0.weight")[0][0].item<float>();
  };
  EXPECT_EQ(value(find_weights(run_)), 30);
  EXPECT_EQ(value(find_weights(run_, {.best = true})), 10);
  EXPECT_EQ(value(find_weights(folder(20))), 20);
  EXPECT_EQ(value(find_weights(run_ / "checkpoints" / "best")), 10);
  EXPECT_EQ(value(find_weights(folder(20) / "model.safetensors")), 20);
  const Weights weights = find_weights(run_);
  EXPECT_EQ(weights.metadata.at("lacuna.method"), "mae");
  EXPECT_EQ(weights.origin, (folder(30) / "model.safetensors").string());
  fs::resize_file(folder(30) / "model.safetensors", 40);
  EXPECT_EQ(value(find_weights(run_)), 20);
  fs::remove(run_ / "checkpoints" / "best");
  EXPECT_EQ(value(find_weights(run_, {.best = true})), 20);
}

TEST_F(CheckpointTest, AveragedWeightsLieBesideThePlainOnes) {
  auto checkpoint = make_checkpoint(10);
  checkpoint.ema = {{"blocks.0.weight", at::full({2, 2}, 7.f)}};
  save_checkpoint(run_, checkpoint);
  EXPECT_EQ(load_checkpoint(folder(10)).ema.at("blocks.0.weight")[0][0].item<float>(), 7);
  const auto averaged = find_weights(run_, {.ema = true});
  EXPECT_EQ(averaged.origin, (folder(10) / "ema.safetensors").string());
  EXPECT_EQ(averaged.metadata, checkpoint.metadata);
  EXPECT_EQ(average_beside(find_weights(run_))->origin, averaged.origin);
  save({20});
  EXPECT_TRUE(load_checkpoint(folder(20)).ema.empty());
  EXPECT_FALSE(average_beside(find_weights(run_)));
  const auto message = [&](const fs::path& path) {
    return error_of([&] { find_weights(path, {.ema = true}); });
  };
  EXPECT_THAT(message(run_), testing::HasSubstr("keeps no moving average"));
  EXPECT_THAT(message(folder(10) / "model.safetensors"), testing::HasSubstr("in a run or a checkpoint"));
  fs::resize_file(folder(10) / "ema.safetensors", 20);
  fs::remove_all(folder(20));
  EXPECT_THAT(message(run_), testing::HasSubstr("every checkpoint of this run is broken"));
}

TEST_F(CheckpointTest, WeightsThatAreNotThereGetAClearLine) {
  const auto message = [](const fs::path& path) { return error_of([&] { find_weights(path); }); };
  EXPECT_EQ(message(run_ / "absent"), (run_ / "absent").string() +
                                          ": nothing there; give a run's folder, one of its checkpoints or a "
                                          ".safetensors file");
  EXPECT_THAT(message(run_), HasSubstr("neither a run nor a checkpoint"));
  std::ofstream(run_ / "config.toml") << "method = \"mae\"\n";
  EXPECT_THAT(message(run_), HasSubstr("this run has no checkpoint yet"));
  for (const char* name : {"mae.pth", "mae.pt", "pytorch_model.bin", "last.ckpt"}) {
    std::ofstream(run_ / name) << "PK";
    EXPECT_THAT(message(run_ / name),
                HasSubstr("a pickle, which may run any code when it is read; convert it"));
  }
  save({10});
  fs::resize_file(folder(10) / "model.safetensors", 4);
  EXPECT_THAT(message(run_), HasSubstr("every checkpoint of this run is broken"));
}

/// Saves, marks and prunes for ever, as training does.
[[noreturn]] void save_until_killed(const fs::path& run, int64_t step) {
  for (;; ++step) {
    save_checkpoint(run, make_checkpoint(step, 20000));
    if (step % 3 == 0) mark_best(run, step);
    prune_checkpoints(run, 2);
  }
}

TEST_F(CheckpointTest, SurvivesKillNineAtAnyInstant) {
  at::set_num_threads(1);  // a fork copies no other thread
  save_checkpoint(run_, make_checkpoint(1, 20000));
  Stream random(0, "kill");
  int64_t step = 1;
  for (int kill = 0; kill < 20; ++kill) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) save_until_killed(run_, step + 1);
    ::usleep(static_cast<useconds_t>(random.uniform(5e3, 150e3)));
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "the child ended by itself";

    testing::internal::CaptureStderr();
    testing::internal::CaptureStdout();
    const auto newest = newest_checkpoint(run_);
    const std::string said = testing::internal::GetCapturedStderr() + testing::internal::GetCapturedStdout();
    EXPECT_EQ(said, "");  // nothing half-written ever bears a checkpoint's name
    ASSERT_TRUE(newest);
    EXPECT_TRUE(is_of_step(*newest, newest->step));
    EXPECT_GE(newest->step, step);
    step = newest->step;
    for (const auto& path : list_checkpoints(run_)) EXPECT_NO_THROW(load_checkpoint(path));
    if (fs::is_symlink(run_ / "checkpoints" / "best")) {
      ASSERT_TRUE(best_checkpoint(run_));
      const Checkpoint best = load_checkpoint(*best_checkpoint(run_));
      EXPECT_TRUE(is_of_step(best, best.step));
    }
  }
  EXPECT_GT(step, 5);  // it did save between the kills
}

}  // namespace
}  // namespace lacuna::train
