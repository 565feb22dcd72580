#include "lacuna/train/processes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/linear.h>

#include <atomic>
#include <thread>

#include "lacuna/core/draws.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/synthetic_rooms.h"
#include "lacuna/method/clip.h"
#include "lacuna/method/geomae.h"
#include "lacuna/method/r_amt.h"
#include "lacuna/method/salt.h"
#include "lacuna/nn/batch_norm.h"
#include "tests/support/network.h"

namespace lacuna::train {
namespace {

using at::Tensor;
using ::testing::HasSubstr;
using ::testing::StartsWith;

Place place_in(const std::map<std::string, std::string>& variables) {
  return read_place([&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

std::string refusal(const std::map<std::string, std::string>& variables) {
  try {
    place_in(variables);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Place, NothingSetIsOneProcess) {
  EXPECT_EQ(place_in({}).world, 1);
  EXPECT_EQ(place_in({{"RANK", "0"}, {"WORLD_SIZE", "1"}}).world, 1);
  EXPECT_EQ(place_in({{"MASTER_ADDR", "a"}, {"MASTER_PORT", "1"}}).world, 1);
}

TEST(Place, ReadsPlainVariables) {
  const auto place = place_in({{"RANK", "5"},
                               {"WORLD_SIZE", "8"},
                               {"LOCAL_RANK", "1"},
                               {"MASTER_ADDR", "node1"},
                               {"MASTER_PORT", "1234"},
                               {"SLURM_PROCID", "0"},
                               {"SLURM_STEP_NUM_TASKS", "2"}});
  EXPECT_EQ(place.rank, 5);
  EXPECT_EQ(place.world, 8);
  EXPECT_EQ(place.local_rank, 1);
  EXPECT_EQ(place.address, "node1");
  EXPECT_EQ(place.port, 1234);
}

TEST(Place, ReadsASlurmStep) {
  std::map<std::string, std::string> step{{"SLURM_PROCID", "3"},
                                          {"SLURM_NTASKS", "16"},
                                          {"SLURM_STEP_NUM_TASKS", "4"},
                                          {"SLURM_LOCALID", "3"},
                                          {"SLURM_STEP_NUM_NODES", "1"}};
  const auto place = place_in(step);
  EXPECT_EQ(place.rank, 3);
  EXPECT_EQ(place.world, 4);
  EXPECT_EQ(place.local_rank, 3);
  EXPECT_EQ(place.address, "127.0.0.1");
  EXPECT_EQ(place.port, 29500);
  step["SLURM_STEP_NUM_NODES"] = "2";
  EXPECT_THAT(refusal(step), HasSubstr("MASTER_ADDR is not set"));
}

TEST(Place, ASlurmBatchScriptIsNoTask) {
  std::map<std::string, std::string> script{
      {"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}, {"SLURM_LOCALID", "0"}};
  EXPECT_EQ(place_in(script).world, 1);
  script["MASTER_ADDR"] = "node1";
  script["MASTER_PORT"] = "29501";
  EXPECT_EQ(place_in(script).world, 4);
}

TEST(Place, ReadsOpenMPI) {
  std::map<std::string, std::string> mpi{
      {"OMPI_COMM_WORLD_RANK", "1"},       {"OMPI_COMM_WORLD_SIZE", "2"}, {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
      {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}, {"SLURM_PROCID", "0"},         {"SLURM_STEP_NUM_TASKS", "1"}};
  const auto place = place_in(mpi);
  EXPECT_EQ(place.rank, 1);
  EXPECT_EQ(place.world, 2);
  EXPECT_EQ(place.address, "127.0.0.1");
  mpi["OMPI_COMM_WORLD_LOCAL_SIZE"] = "1";
  EXPECT_THAT(refusal(mpi), HasSubstr("MASTER_ADDR is not set"));
}

TEST(Place, RefusesWhatIsHalfSetOrWrongInOneLine) {
  EXPECT_EQ(refusal({{"RANK", "1"}}), "RANK 1: WORLD_SIZE is not set; set both, or neither");
  EXPECT_EQ(refusal({{"WORLD_SIZE", "2"}}), "WORLD_SIZE 2: RANK is not set; set both, or neither");
  EXPECT_THAT(refusal({{"RANK", "1"}, {"WORLD_SIZE", "2"}}),
              StartsWith("WORLD_SIZE 2: MASTER_ADDR is not set; "));
  EXPECT_THAT(refusal({{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}}),
              StartsWith("WORLD_SIZE 2: MASTER_PORT is not set; "));
  EXPECT_THAT(refusal({{"RANK", "2"}, {"WORLD_SIZE", "2"}}), StartsWith("RANK 2: there are 2 processes"));
  EXPECT_THAT(refusal({{"RANK", "one"}, {"WORLD_SIZE", "2"}}), StartsWith("RANK one: is no number"));
  EXPECT_THAT(refusal({{"RANK", "-1"}, {"WORLD_SIZE", "2"}}), StartsWith("RANK -1: is no number"));
  EXPECT_THAT(refusal({{"RANK", "0"}, {"WORLD_SIZE", "0"}}), StartsWith("WORLD_SIZE 0: is no number"));
  EXPECT_THAT(refusal({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}, {"MASTER_PORT", "70000"}}),
              StartsWith("MASTER_PORT 70000: is no number"));
}

/// What each of `world` threads, each a process to the others, ended with: "" or its exception. `after` runs
/// once a process has left.
std::vector<std::string> together(int64_t world, double timeout_s, const std::function<void(Processes&)>& job,
                                  const std::function<void(int64_t rank)>& after = {}) {
  const int64_t port = testing::free_port();
  std::vector<std::string> ends(static_cast<size_t>(world));
  std::vector<std::thread> threads;
  for (int64_t rank = 0; rank < world; ++rank)
    threads.emplace_back([&, rank] {
      try {
        Processes processes({.rank = rank, .world = world, .address = "127.0.0.1", .port = port}, at::kCPU,
                            timeout_s);
        processes.run([&] { job(processes); });
      } catch (const std::exception& error) {
        ends[static_cast<size_t>(rank)] = error.what();
      }
      if (after) after(rank);
    });
  for (auto& thread : threads) thread.join();
  return ends;
}

const std::vector<std::string> kGood3(3), kGood2(2);

TEST(Processes, MeanBroadcastAndRowsOfDifferentCounts) {
  EXPECT_EQ(
      together(3, 30,
               [](Processes& processes) {
                 const auto rank = static_cast<double>(processes.rank());
                 std::vector<double> values{rank, 1e-300, rank == 1 ? NAN : 0};
                 processes.mean(values);
                 EXPECT_EQ(values[0], 1);
                 EXPECT_DOUBLE_EQ(values[1], 1e-300);
                 EXPECT_TRUE(std::isnan(values[2]));

                 const auto weight = torch::full({5}, rank),
                            count = torch::full({}, 7 + processes.rank(), torch::kLong);
                 processes.broadcast({{"weight", weight}, {"count", count}});
                 EXPECT_TRUE(weight.equal(torch::zeros({5})));
                 EXPECT_EQ(count.item<int64_t>(), 7);

                 // 0, 1 and 2 rows; who has none does not know their width.
                 auto rows = torch::full({processes.rank(), 4}, rank);
                 if (processes.rank() == 0) rows = torch::empty({0});
                 const auto all = processes.gather_rows(rows);
                 EXPECT_TRUE(all.equal(torch::tensor({1.0F, 2.0F, 2.0F}).unsqueeze(1).expand({3, 4}))) << all;
                 processes.barrier();
               }),
      kGood3);
}

TEST(Processes, SumIsDifferentiable) {
  EXPECT_EQ(together(2, 30,
                     [](Processes& processes) {
                       const double own = 1.0 + static_cast<double>(processes.rank());
                       auto x = torch::full({3}, own, torch::requires_grad());
                       const auto total = processes.sum(x);  // 1 + 2
                       EXPECT_TRUE(total.equal(torch::full({3}, 3.0)));
                       (total * own).sum().backward();  // d/dx of both processes' losses: 1 + 2
                       EXPECT_TRUE(x.grad().equal(torch::full({3}, 3.0)));
                     }),
            kGood2);
}

TEST(Processes, WhatMustBeEqualIsChecked) {
  const auto ends = together(3, 30, [](Processes& processes) {
    processes.require_same("same", "what", "why", "remedy");
    processes.require_same(processes.rank() == 2 ? "other" : "same", "what", "why", "remedy");
  });
  // Who is told by another before it has seen for itself names that one.
  for (const auto& end : ends) EXPECT_THAT(end, HasSubstr("what: why (process 2, not as process 0); remedy"));
}

/// Gradients of a two-layer network over `batches`, averaged over processes by halves.
struct Network {
  torch::nn::Linear first{4, 300}, second{300, 2}, spare{4, 2};
  Network() {
    SeededDraws draws(1);
    for (const auto& [name, parameter] : named()) {
      const torch::NoGradGuard no_grad;
      parameter.copy_(draws.normal(name, parameter.sizes()));
    }
  }
  std::vector<std::pair<std::string, Tensor>> named() const {
    return {{"a", first->weight}, {"b", first->bias},   {"c", second->weight},
            {"d", second->bias},  {"e", spare->weight}, {"f", spare->bias}};
  }
  std::vector<Tensor> parameters() const {
    std::vector<Tensor> out;
    for (const auto& [name, parameter] : named()) out.push_back(parameter);
    return out;
  }
  /// `use_spare`: false leaves two parameters without a gradient.
  Tensor loss(const Tensor& x, bool use_spare) {
    auto y = second(torch::relu(first(x)));
    if (use_spare) y = y + spare(x);
    return y.square().mean();
  }
  std::vector<Tensor> take_gradients() const {
    std::vector<Tensor> out;
    for (auto parameter : parameters()) {
      out.push_back(parameter.grad().defined() ? parameter.grad().clone() : Tensor());
      parameter.mutable_grad().reset();
    }
    return out;
  }
};

void expect_close(const std::vector<Tensor>& got, const std::vector<Tensor>& wanted) {
  for (size_t i = 0; i < wanted.size(); ++i) {
    ASSERT_EQ(got[i].defined(), wanted[i].defined()) << i;
    if (!wanted[i].defined()) continue;
    EXPECT_LE((got[i] - wanted[i]).abs().max().item<double>(), 1e-5 * wanted[i].abs().max().item<double>())
        << i;
  }
}

TEST(GradientAverager, HalvesGiveTheGradientsOfTheWhole) {
  const auto x =
      SeededDraws(2).normal("x", {6, 16, 4});  // six steps, so that the buckets are rebuilt on the way
  EXPECT_EQ(together(2, 30,
                     [&](Processes& processes) {
                       Network whole, half;
                       GradientAverager averager(processes, half.parameters(), /*unused=*/false);
                       for (int64_t step = 0; step < 6; ++step) {
                         whole.loss(x[step], true).backward();
                         averager.backward(half.loss(x[step].chunk(2)[processes.rank()], true),
                                           /*last=*/true);
                         expect_close(half.take_gradients(), whole.take_gradients());
                       }
                     }),
            kGood2);
}

Batch rows_of(const Batch& batch, int64_t from, int64_t to) {
  std::vector<int64_t> rows;
  for (int64_t i = from; i < to; ++i) rows.push_back(i);
  return batch.select(rows);
}

Batch pairs() {
  Batch batch;
  batch.image = SeededDraws(2).normal("picture", {6, 3, 16, 16});
  batch.tokens = torch::tensor(
      {{8, 1, 9, -1}, {8, 2, 9, -1}, {8, 3, 3, 9}, {8, 9, -1, -1}, {8, 5, 9, -1}, {8, 6, 4, 9}});
  batch.label = torch::tensor({0, 1, 2, 0, 1, 2});
  batch.sample = {0, 1, 2, 3, 4, 5};
  return batch;
}

template <class Config>
void make_small(Config& config) {
  config.encoder.img_size = {16, 16}, config.encoder.patch_size = {8, 8};
  config.encoder.embed_dim = 16, config.encoder.depth = 1, config.encoder.num_heads = 2;
}

std::vector<Tensor> trained(const Method& method) {
  std::vector<Tensor> out;
  for (const auto& parameter : method.parameters())
    if (parameter.requires_grad()) out.push_back(parameter);
  return out;
}

/// One loss over the whole, and two processes' over 4 and 2 (or 3 and 3) rows of it.
template <class Make>
void expect_the_same_gradients(Make make, int64_t first_rows, const Batch& batch = pairs()) {
  EXPECT_EQ(together(2, 30,
                     [&](Processes& processes) {
                       const auto whole = make(), half = make();
                       SeededDraws draws(0, 0, batch.sample);
                       auto loss = whole->forward(batch, draws);
                       loss.total.backward();
                       nn::connect_gathers(*half, processes.rank(), processes.world(),
                                           [&](const Tensor& part) { return processes.sum(part); });
                       nn::synchronize_batch_norms(*half,
                                                   [&](const Tensor& part) { return processes.sum(part); });
                       GradientAverager averager(processes, trained(*half), /*unused=*/false);
                       const auto own =
                           processes.first() ? rows_of(batch, 0, first_rows) : rows_of(batch, first_rows, 6);
                       SeededDraws own_draws(0, 0, own.sample);
                       const auto part = half->forward(own, own_draws);
                       const double weight = part.weight > 0 ? part.weight : 1;
                       averager.backward(part.total * weight, /*last=*/true);
                       std::vector<double> mean{part.total.template item<double>() * weight, weight};
                       processes.mean(mean);
                       EXPECT_NEAR(mean[0] / mean[1], loss.total.template item<double>(), 1e-5);
                       std::vector<Tensor> got, wanted;
                       for (const auto& parameter : trained(*half)) got.push_back(parameter.grad() / mean[1]);
                       for (const auto& parameter : trained(*whole)) wanted.push_back(parameter.grad());
                       for (size_t i = 0; i < wanted.size(); ++i)
                         EXPECT_TRUE(torch::allclose(got[i], wanted[i], 1e-3, 1e-6)) << i;
                     }),
            kGood2);
}

TEST(RowGather, ContrastiveLossOverTwoProcessesIsThatOfOne) {
  const auto make = [] {
    ClipConfig config;
    make_small(config);
    config.text.context_length = 4, config.text.vocab_size = 10;
    config.text.embed_dim = 16, config.text.depth = 1, config.text.num_heads = 2;
    config.projection.dim = 8;
    SeededDraws draws(0);
    return std::make_shared<Clip>(config, draws);
  };
  expect_the_same_gradients(make, 3);
  expect_the_same_gradients(make, 4);
}

TEST(RowGather, MasksOverTwoProcessesDropTheSameGradients) {
  expect_the_same_gradients(
      [] {
        RAmtConfig config;
        make_small(config);
        config.dim = 8, config.head.num_classes = 3;
        SeededDraws draws(0);
        return std::make_shared<RAmt>(config, draws);
      },
      3);
}

// Masks of different samples leave lists of different lengths, and all are cut to the shortest of the batch.
TEST(RowGather, BlocksOfFilmsOverTwoProcessesAreThoseOfOne) {
  const auto make = [] {
    SALTConfig config;
    ConfigTable table;
    table.add("", config);
    for (const char* setting :
         {"teacher.type=ema", "encoder.arch=vit", "encoder.img_size=32", "encoder.patch_size=8",
          "encoder.num_frames=4", "encoder.embed_dim=24", "encoder.depth=1", "encoder.num_heads=2",
          "predictor.embed_dim=24", "predictor.depth=1", "predictor.num_heads=2", "mask.num_blocks=[3, 2]",
          "mask.spatial_min=[0.2, 0.4]", "mask.spatial_max=[0.2, 0.4]"})
      table.set_assignment(setting, "test");
    config.resolve(table);
    SeededDraws draws(0);
    return std::make_shared<SALT>(config, draws);
  };
  Batch films;
  films.video = SeededDraws(2).normal("film", {6, 3, 4, 32, 32});
  films.sample = {0, 1, 2, 3, 4, 5};
  const auto lengths = [&](int64_t from, int64_t to) {
    const auto salt = make();
    SeededDraws draws(0, 0, rows_of(films, from, to).sample);
    std::vector<int64_t> out;
    for (const auto& masks : salt->draw_masks(films.video.slice(0, from, to), draws))
      out.insert(out.end(), {masks.context.size(1), masks.targets.size(1)});
    return out;
  };
  ASSERT_NE(lengths(0, 3), lengths(3, 6));  // else there would be nothing to agree on
  expect_the_same_gradients(make, 3, films);
}

// The norms see all points; hidden pillars and their occupied parts are unlike in number.
TEST(RowGather, PillarsOverTwoProcessesAreThoseOfOne) {
  const auto make = [] {
    GeoMAEConfig config;
    ConfigTable table;
    table.add("", config);
    for (const auto& setting : Registry<MethodInfo>::instance().get("geomae").tiny)
      table.set_assignment(setting, "test");
    config.encoder.in_chans = 3, config.target.curvature = true;
    SeededDraws draws(0);
    return std::make_shared<GeoMAE>(config, draws);
  };
  Batch clouds;
  clouds.points = torch::zeros({6, 300, 3});
  clouds.point_count = torch::tensor({300, 120, 200, 0, 300, 40});
  for (int64_t b = 0; b < 6; ++b) {
    const auto room = data::draw_room(b, 300, Stream(0, "room", static_cast<uint64_t>(b)));
    clouds.points[b].copy_(torch::tensor(room.values).view({300, 3}));
    clouds.sample.push_back(b);
  }
  expect_the_same_gradients(make, 3, clouds);
}

TEST(GradientAverager, AccumulatesBeforeItAverages) {
  const auto x = SeededDraws(2).normal("x", {4, 16, 4});
  EXPECT_EQ(together(2, 30,
                     [&](Processes& processes) {
                       Network whole, half;
                       GradientAverager averager(processes, half.parameters(), /*unused=*/false);
                       for (int64_t step = 0; step < 4; ++step) {
                         whole.loss(x[step], true).backward();
                         const auto own = x[step].chunk(2)[processes.rank()].chunk(2);
                         averager.backward(half.loss(own[0], true) / 2, /*last=*/false);
                         averager.backward(half.loss(own[1], true) / 2, /*last=*/true);
                         expect_close(half.take_gradients(), whole.take_gradients());
                       }
                     }),
            kGood2);
}

TEST(GradientAverager, ParametersThatAStepDoesNotUse) {
  const auto x = SeededDraws(2).normal("x", {4, 16, 4});
  EXPECT_EQ(together(2, 30,
                     [&](Processes& processes) {
                       Network whole, half;
                       GradientAverager averager(processes, half.parameters(), /*unused=*/true);
                       for (int64_t step = 0; step < 4; ++step) {
                         const bool used = step % 2 == 0;
                         whole.loss(x[step], used).backward();
                         averager.backward(half.loss(x[step].chunk(2)[processes.rank()], used),
                                           /*last=*/true);
                         expect_close(half.take_gradients(), whole.take_gradients());
                       }
                     }),
            kGood2);
}

TEST(BatchNorm, HalvesGiveTheStatisticsAndGradientsOfTheWhole) {
  const auto x = SeededDraws(3).normal("x", {3, 8, 5, 4, 4}) * 2 + 100;  // a mean far from 0
  EXPECT_EQ(
      together(2, 30,
               [&](Processes& processes) {
                 const auto half = std::make_shared<nn::BatchNorm>(5);
                 torch::nn::BatchNorm2d whole(5);
                 {
                   const torch::NoGradGuard no_grad;
                   for (auto& norm : {half->weight, whole->weight}) norm.copy_(torch::arange(5) + 1);
                 }
                 nn::synchronize_batch_norms(*half, [&](const Tensor& part) { return processes.sum(part); });
                 GradientAverager averager(processes, half->parameters(), /*unused=*/false);
                 for (int64_t step = 0; step < 3; ++step) {
                   auto all = x[step].clone().requires_grad_();
                   auto own = x[step].chunk(2)[processes.rank()].clone().requires_grad_();
                   const auto y_all = whole(all), y = half->forward(own);
                   EXPECT_TRUE(y.allclose(y_all.chunk(2)[processes.rank()], 1e-4, 1e-4));
                   y_all.pow(3).mean().backward();
                   averager.backward(y.pow(3).mean(), /*last=*/true);
                   EXPECT_TRUE(half->weight.grad().allclose(whole->weight.grad(), 1e-3));
                   EXPECT_TRUE(half->bias.grad().allclose(whole->bias.grad(), 1e-3));
                   // The losses of both depend on each picture through the statistics; averaging them halves
                   // that.
                   EXPECT_TRUE((own.grad() / 2).allclose(all.grad().chunk(2)[processes.rank()], 1e-3, 1e-5));
                   half->zero_grad();
                   whole->zero_grad();
                 }
                 EXPECT_TRUE(half->running_mean.allclose(whole->running_mean, 1e-5));
                 EXPECT_TRUE(half->running_var.allclose(whole->running_var, 1e-4));
                 EXPECT_EQ(half->num_batches_tracked.item<int64_t>(), 3);
               }),
      kGood2);
}

TEST(BatchNorm, AloneItIsLibTorchs) {
  const auto x = SeededDraws(3).normal("x", {8, 5, 4});
  nn::BatchNorm own(5);
  torch::nn::BatchNorm1d theirs(5);
  EXPECT_TRUE(own.forward(x).equal(theirs(x)));
  own.eval(), theirs->eval();
  EXPECT_TRUE(own.forward(x).equal(theirs(x)));
}

TEST(Processes, AnErrorInOneIsTheReasonOfTheOthers) {
  const auto ends = together(3, 30, [](Processes& processes) {
    if (processes.rank() == 1) fail("cat.png", "is no picture", "remove it");
    std::vector<double> values{1};
    processes.mean(values);
  });
  EXPECT_EQ(ends[1], "cat.png: is no picture; remove it");
  for (const size_t other : {0, 2}) {
    EXPECT_THAT(ends[other],
                StartsWith(str("process ", other, " of 3: process 1 ended: cat.png: is no picture")));
    EXPECT_THAT(ends[other], HasSubstr("--resume"));
  }
}

TEST(Processes, TheyLeaveTogetherAfterASignal) {
  std::atomic<bool> written = false;
  const auto stop = [&](Processes& processes) {
    if (processes.first())
      std::this_thread::sleep_for(std::chrono::milliseconds(300));  // writes its checkpoint
    if (processes.first()) written = true;
    throw Interrupted("stopped");
  };
  EXPECT_EQ(together(2, 30, stop, [&](int64_t) { EXPECT_TRUE(written); }),
            (std::vector<std::string>{"stopped", "stopped"}));
}

TEST(Processes, OnlyOneComes) {
  for (const int64_t rank : {0, 1}) {
    const int64_t port = testing::free_port();
    const auto start = std::chrono::steady_clock::now();
    try {
      const Processes alone({.rank = rank, .world = 2, .address = "127.0.0.1", .port = port}, at::kCPU, 1);
      ADD_FAILURE() << "met nobody";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(rank == 0 ? "only 1 came within 1 s" : "can't be reached"));
    }
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));  // 1 s on an idle machine
  }
}

}  // namespace
}  // namespace lacuna::train
