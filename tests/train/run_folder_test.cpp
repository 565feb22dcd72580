#include "lacuna/train/run_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <csignal>
#include <fstream>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/io/image.h"

namespace lacuna::train {
namespace {

namespace fs = io::fs;
using testing::HasSubstr;

class RunFolderTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "lacuna-run-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
    run_ = root_ / "run";
  }
  void TearDown() override { fs::remove_all(root_); }

  std::string open_error(bool resume) {
    try {
      RunFolder folder(run_, resume);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
  std::string metrics() { return io::read_file(run_ / "metrics.jsonl"); }
  std::string events() {
    std::string all;
    for (const auto& entry : fs::directory_iterator(run_))
      if (entry.path().filename().string().starts_with("events.out.tfevents"))
        all += io::read_file(entry.path());
    return all;
  }

  fs::path root_, run_;
};

TEST_F(RunFolderTest, RefusesToStartOverARun) {
  for (const char* name : {"config.toml", "metrics.jsonl", "checkpoints"}) {
    fs::create_directories(run_);
    name == std::string("checkpoints") ? void(fs::create_directory(run_ / name))
                                       : void(std::ofstream(run_ / name));
    EXPECT_EQ(open_error(false),
              run_.string() + ": already holds a run; give --resume to continue it or choose another --out");
    EXPECT_EQ(std::distance(fs::directory_iterator(run_), fs::directory_iterator{}), 1);  // nothing was added
    EXPECT_EQ(open_error(true), "");
    fs::remove_all(run_);
  }
}

TEST_F(RunFolderTest, RefusesToResumeNothing) {
  EXPECT_THAT(open_error(true), HasSubstr("holds no run to continue; check --out"));
  EXPECT_FALSE(fs::exists(run_));
}

TEST_F(RunFolderTest, IsLockedWhileItLives) {
  {
    RunFolder folder(run_, false);
    folder.write_config("method = \"mae\"\n");
    EXPECT_EQ(io::read_file(run_ / "config.toml"), "method = \"mae\"\n");
    EXPECT_THAT(open_error(true), HasSubstr(str("in use by process ", ::getpid())));
  }
  EXPECT_EQ(open_error(true), "");
}

TEST_F(RunFolderTest, LogsALineAndScalars) {
  RunFolder folder(run_, false);
  folder.log({{"step", 10}, {"loss", 0.5}, {"note", "text"}});
  folder.log({{"step", 20}, {"loss", 0.1 + 0.2}, {"loss.pixel", 1}});
  EXPECT_EQ(metrics(),
            "{\"loss\":0.5,\"note\":\"text\",\"step\":10}\n"
            "{\"loss\":0.30000000000000004,\"loss.pixel\":1,\"step\":20}\n");
  const auto lines = read_metrics(run_);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[1]["loss"].get<double>(), 0.1 + 0.2);
  EXPECT_THAT(events(), HasSubstr("loss.pixel"));
  EXPECT_THAT(events(), testing::Not(HasSubstr("note")));
}

TEST_F(RunFolderTest, RewindsToAStepAndDropsATornLine) {
  {
    RunFolder folder(run_, false);
    for (int step = 10; step <= 50; step += 10) folder.log({{"step", step}, {"loss", 1.0 / step}});
  }
  std::ofstream(run_ / "metrics.jsonl", std::ios::app) << "{\"step\":60,\"lo";
  EXPECT_EQ(read_metrics(run_).size(), 5u);
  RunFolder folder(run_, true);
  folder.rewind_metrics(30);
  folder.log({{"step", 40}, {"loss", 7}});
  std::vector<int64_t> steps;
  for (const auto& line : read_metrics(run_)) steps.push_back(line["step"]);
  EXPECT_THAT(steps, testing::ElementsAre(10, 20, 30, 40));
  EXPECT_EQ(read_metrics(run_)[2]["loss"].get<double>(), 1.0 / 30);
  EXPECT_EQ(read_metrics(run_)[3]["loss"], 7);
}

TEST_F(RunFolderTest, NamesABrokenLine) {
  fs::create_directories(run_);
  std::ofstream(run_ / "metrics.jsonl") << "{\"step\":1}\nrubbish\n{\"step\":3}\n";
  try {
    read_metrics(run_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("metrics.jsonl: line 2 is no record with a step"));
  }
  EXPECT_TRUE(read_metrics(root_).empty());
}

TEST_F(RunFolderTest, SavesPreviews) {
  RunFolder folder(run_, false);
  const at::Tensor panel = at::arange(4 * 5 * 3, at::kByte).view({4, 5, 3});
  folder.save_preview(panel, 100);
  const std::string png = io::read_file(run_ / "previews" / "step-00000100.png");
  EXPECT_TRUE(at::equal(io::decode_image(std::as_bytes(std::span(png)), "preview").pixels, panel));
  EXPECT_THAT(events(), HasSubstr(png));
}

TEST_F(RunFolderTest, ReportsAWriteThatFails) {
  RunFolder folder(run_, false);
  folder.log({{"step", 1}});
  // A limit on the size of files stands for a full disk.
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit tight{fs::file_size(run_ / "metrics.jsonl") + 4, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tight), 0);
  std::string message;
  try {
    folder.log({{"step", 2}});
  } catch (const Error& error) {
    message = error.what();
  }
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_THAT(message, HasSubstr("metrics.jsonl: can't be written: "));
  EXPECT_EQ(read_metrics(run_).size(), 1u);
}

}  // namespace
}  // namespace lacuna::train
