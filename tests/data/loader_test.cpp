#include "lacuna/data/loader.h"

#include <gtest/gtest.h>

#include <chrono>
#include <set>
#include <thread>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/transform.h"
#include "tests/support/pictures.h"

namespace lacuna::data {
namespace {

/// `size` small pictures; those in `broken` can't be read, and the others are slow by `delay`.
class Pictures final : public Dataset {
 public:
  explicit Pictures(int64_t size, std::set<int64_t> broken = {}, std::chrono::milliseconds delay = {})
      : broken_(std::move(broken)), delay_(delay) {
    for (int64_t i = 0; i < size; ++i) pixels_.push_back(testing::noise(12, 10, 3, static_cast<uint64_t>(i)));
  }
  int64_t size() const override { return static_cast<int64_t>(pixels_.size()); }
  Record get(int64_t index) const override {
    std::this_thread::sleep_for(delay_);
    if (broken_.count(index) != 0) fail(str("picture-", index), "is cut short", "repair it");
    return {str("picture-", index), index, io::Image{pixels_[static_cast<size_t>(index)], 255}};
  }
  int64_t label(int64_t index) const override { return index; }
  std::vector<std::string> classes() const override { return {}; }
  std::string uri() const override { return "test:pictures"; }

 private:
  std::vector<at::Tensor> pixels_;
  std::set<int64_t> broken_;
  std::chrono::milliseconds delay_;
};

/// With every augmentation there is.
ImageTransform transform() {
  AugmentConfig config;
  config.auto_augment = "rand-m9-mstd0.5-inc1";
  config.interpolation = "random";
  config.erase_prob = 0.25;
  return ImageTransform(config, {8, 8}, 3, {{0.5, 0.5, 0.5}, {0.25, 0.25, 0.25}});
}

LoaderConfig config(int64_t batch_size, int64_t workers) {
  LoaderConfig out;
  out.batch_size = batch_size;
  out.workers = workers;
  out.prefetch = 3;
  out.seed = 11;
  return out;
}

void expect_equal(const Batch& a, const Batch& b) {
  EXPECT_EQ(a.sample, b.sample);
  EXPECT_EQ(a.key, b.key);
  EXPECT_TRUE(at::equal(a.label, b.label));
  EXPECT_TRUE(at::equal(a.image, b.image));
}

std::vector<Batch> take(Loader& loader, int64_t count) {
  std::vector<Batch> out;
  for (int64_t i = 0; i < count; ++i) out.push_back(loader.next());
  return out;
}

TEST(Loader, WorkersChangeNothing) {
  const auto data = std::make_shared<Pictures>(23);
  Loader alone(data, transform(), config(4, 0));
  const auto expected = take(alone, 13);  // beyond two epochs of 5
  for (const int64_t workers : {1, 3}) {
    Loader loader(data, transform(), config(4, workers));
    for (const auto& batch : expected) expect_equal(batch, loader.next());
    EXPECT_EQ(loader.position(), (LoaderPosition{2, 3}));
  }
}

TEST(Loader, EpochsAreWholeAndDiffer) {
  Loader loader(std::make_shared<Pictures>(20), transform(), config(5, 2));
  EXPECT_EQ(loader.batches_per_epoch(), 4);
  std::vector<std::string> orders[2];
  std::set<int64_t> samples;
  for (auto& order : orders)
    for (const auto& batch : take(loader, 4)) {
      order.insert(order.end(), batch.key.begin(), batch.key.end());
      samples.insert(batch.sample.begin(), batch.sample.end());
    }
  for (const auto& order : orders) EXPECT_EQ(std::set<std::string>(order.begin(), order.end()).size(), 20U);
  EXPECT_NE(orders[0], orders[1]);
  EXPECT_EQ(samples.size(), 40U);
  EXPECT_EQ(*samples.rbegin(), 39);
}

TEST(Loader, ResumesAnywhereBitForBit) {
  const auto data = std::make_shared<Pictures>(23);
  Loader unbroken(data, transform(), config(4, 2));
  const auto stream = take(unbroken, 12);
  Loader resumed(data, transform(), config(4, 2));
  for (int64_t start = 11; start >= 0; --start) {
    resumed.seek({start / 5, start % 5});
    EXPECT_EQ(resumed.position(), (LoaderPosition{start / 5, start % 5}));
    for (size_t i = static_cast<size_t>(start); i < stream.size() && i < static_cast<size_t>(start) + 3; ++i)
      expect_equal(stream[i], resumed.next());
  }
}

TEST(Loader, TwoRanksSeeWhatOneProcessSees) {
  const auto data = std::make_shared<Pictures>(26);
  Loader one(data, transform(), config(8, 2));
  LoaderConfig half = config(4, 1);
  half.world = 2;
  Loader first(data, transform(), half);
  half.rank = 1;
  Loader second(data, transform(), half);
  EXPECT_EQ(first.batches_per_epoch(), one.batches_per_epoch());
  for (int i = 0; i < 7; ++i) {
    const Batch whole = one.next(), a = first.next(), b = second.next();
    EXPECT_TRUE(at::equal(whole.image, at::cat({a.image, b.image})));
    EXPECT_TRUE(at::equal(whole.label, at::cat({a.label, b.label})));
    auto samples = a.sample;
    samples.insert(samples.end(), b.sample.begin(), b.sample.end());
    EXPECT_EQ(whole.sample, samples);
  }
}

TEST(Loader, EvaluationKeepsTheLastBatchAndTheOrder) {
  for (const int64_t workers : {0, 2}) {
    LoaderConfig evaluation = config(4, workers);
    evaluation.shuffle = evaluation.drop_last = false;
    Loader loader(std::make_shared<Pictures>(10), transform().for_evaluation(), evaluation);
    for (int epoch = 0; epoch < 2; ++epoch) {
      std::vector<int64_t> labels, sizes;
      while (const auto batch = loader.next_in_epoch()) {
        sizes.push_back(batch->size());
        const auto* label = batch->label.const_data_ptr<int64_t>();
        labels.insert(labels.end(), label, label + batch->size());
      }
      EXPECT_EQ(sizes, (std::vector<int64_t>{4, 4, 2}));
      EXPECT_EQ(labels, (std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
    }
  }
}

TEST(Loader, BrokenRecordsAreReplacedInTrainingTheSameWayForAnyWorkers) {
  const auto data = std::make_shared<Pictures>(12, std::set<int64_t>{3, 7});
  LoaderConfig tolerant = config(4, 0);
  tolerant.max_bad = 2;
  Loader alone(data, transform(), tolerant);
  tolerant.workers = 3;
  Loader threaded(data, transform(), tolerant);
  for (int i = 0; i < 9; ++i) {
    const Batch expected = alone.next(), batch = threaded.next();
    expect_equal(expected, batch);
    EXPECT_EQ(batch.size(), 4);
    EXPECT_EQ((batch.label == 3).sum().item<int64_t>() + (batch.label == 7).sum().item<int64_t>(), 0);
    EXPECT_EQ(alone.bad_records(), threaded.bad_records());
  }
  EXPECT_EQ(threaded.bad_records().size(), 2U);  // once each, though met in every epoch
}

TEST(Loader, BrokenRecordsAreLeftOutInEvaluation) {
  LoaderConfig evaluation = config(4, 2);
  evaluation.shuffle = evaluation.drop_last = false;
  evaluation.max_bad = 1;
  Loader loader(std::make_shared<Pictures>(6, std::set<int64_t>{1}), transform().for_evaluation(),
                evaluation);
  const Batch batch = *loader.next_in_epoch();
  EXPECT_EQ(batch.key, (std::vector<std::string>{"picture-0", "picture-2", "picture-3"}));
  EXPECT_EQ(batch.sample, (std::vector<int64_t>{0, 2, 3}));
  EXPECT_EQ(batch.image.size(0), 3);
  EXPECT_EQ(batch.label[1].item<int64_t>(), 2);
}

TEST(Loader, OneBrokenRecordTooManyIsAnErrorThatNamesIt) {
  LoaderConfig strict = config(4, 2);
  strict.shuffle = false;
  Loader loader(std::make_shared<Pictures>(8, std::set<int64_t>{5}), transform(), strict);
  loader.next();
  try {
    loader.next();
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "picture-5: is cut short; repair it, or let more broken records pass (data.max_bad is 0)");
  }
  LoaderConfig tolerant = strict;
  tolerant.max_bad = 3;
  Loader resumed(std::make_shared<Pictures>(8, std::set<int64_t>{5}), transform(), tolerant);
  resumed.set_bad_records({0, 1, 2});
  resumed.next();
  EXPECT_THROW(resumed.next(), Error);
}

TEST(Loader, AllBrokenEndsInAnError) {
  LoaderConfig tolerant = config(2, 2);
  tolerant.max_bad = 1000;
  Loader loader(std::make_shared<Pictures>(3, std::set<int64_t>{0, 1, 2}), transform(), tolerant);
  EXPECT_THROW(loader.next(), Error);
}

TEST(Loader, TooFewRecordsForABatchIsAnError) {
  EXPECT_THROW(Loader(std::make_shared<Pictures>(3), transform(), config(4, 0)), Error);
}

TEST(Loader, EndsPromptlyWhileFull) {
  const auto data = std::make_shared<Pictures>(64, std::set<int64_t>{}, std::chrono::milliseconds(1));
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 5; ++i) {
    Loader loader(data, transform(), config(4, 3));
    loader.next();
    if (i % 2 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(30));  // the queue is full by now
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start,
            std::chrono::seconds(30));  // 0.2 s where nothing else runs
}

/// Every eighth record takes 24 times as long as the others.
class Skewed final : public Dataset {
 public:
  int64_t size() const override { return 64; }
  Record get(int64_t index) const override {
    std::this_thread::sleep_for(std::chrono::milliseconds(index % 8 == 0 ? 48 : 2));
    return {"record", kNoLabel, io::Image{pixels_, 255}};
  }
  int64_t label(int64_t /*index*/) const override { return kNoLabel; }
  std::vector<std::string> classes() const override { return {}; }
  std::string uri() const override { return "test:skewed"; }
  static constexpr double kSeconds = 8 * 0.048 + 56 * 0.002;

 private:
  at::Tensor pixels_ = testing::noise(12, 10, 3, 1);
};

TEST(Loader, NoWorkerIsIdleWhileOthersHaveLongRecords) {
  constexpr int64_t kWorkers = 4;
  LoaderConfig skewed = config(8, kWorkers);  // a long record in each batch, where they lie
  skewed.shuffle = false;
  Loader loader(std::make_shared<Skewed>(), transform(), skewed);
  const auto start = std::chrono::steady_clock::now();
  take(loader, 8);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  // Were the rows of each batch dealt out to workers, the long one would hold up the rest: 8 times 0.048 +
  // 0.002 s. The work spread evenly takes 0.124.
  EXPECT_GT(seconds, Skewed::kSeconds / kWorkers);
  EXPECT_LT(seconds, 0.27);
}

TEST(Loader, ABatchsMemoryServesAgainWhenItIsGone) {
  const auto shared = transform();
  const auto memory_of = [](const Batch& batch) { return batch.image.const_data_ptr(); };
  Batch first = shared.begin(3)->finish({0, 1, 2});
  const void* memory = memory_of(first);
  at::Tensor part = first.image.narrow(0, 0, 1);
  first = {};
  EXPECT_NE(memory_of(shared.begin(3)->finish({0, 1, 2})), memory);  // a part of it is in use
  part = at::Tensor();
  std::set<const void*> given;
  std::vector<Batch> held;
  for (int i = 0; i < 5; ++i)
    held.push_back(shared.begin(3)->finish({0, 1, 2})), given.insert(memory_of(held.back()));
  EXPECT_EQ(given.size(), 5U);
  EXPECT_EQ(given.count(memory), 1U);
}

TEST(Loader, MeasuresWaiting) {
  Loader loader(std::make_shared<Pictures>(8, std::set<int64_t>{}, std::chrono::milliseconds(5)), transform(),
                config(4, 1));
  loader.next();
  EXPECT_GT(loader.wait_seconds(), 0.015);
}

}  // namespace
}  // namespace lacuna::data
