// What goes wrong around a run: a full disk, one that can't be written, data that vanish, a clock that jumps.
// Each ends in one line, and the run goes on afterwards to the end that an undisturbed one has.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include "lacuna/data/dataset.h"
#include "tests/support/small_run.h"

namespace lacuna::testing {
namespace {

using ::testing::HasSubstr;

class Faults : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder;
    const auto outcome = run_program(pretrain(unbroken()));
    ASSERT_EQ(outcome.code, 0) << outcome.err;
  }
  static void TearDownTestSuite() { delete folder_; }
  static fs::path unbroken() { return *folder_ / "unbroken"; }
  static TemporaryFolder* folder_;
};
TemporaryFolder* Faults::folder_ = nullptr;

/// A file system of its own, so that it can be full or read-only even for root.
class Disk {
 public:
  Disk(fs::path at, const std::string& size) : at_(std::move(at)) {
    fs::create_directory(at_);
    mounted_ = mount("tmpfs", at_.c_str(), "tmpfs", 0, ("size=" + size).c_str()) == 0;
  }
  ~Disk() {
    if (mounted_) umount2(at_.c_str(), MNT_DETACH);
  }
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;
  bool mounted() const { return mounted_; }
  void remount(unsigned long flags, const std::string& size) const {
    ASSERT_EQ(mount("tmpfs", at_.c_str(), "tmpfs", MS_REMOUNT | flags, ("size=" + size).c_str()), 0);
  }

 private:
  fs::path at_;
  bool mounted_;
};

TEST_F(Faults, FullDiskEndsInOneLineAndLosesNothing) {
  const auto at = *folder_ / "disk";
  const Disk disk(at, "1m");
  if (!disk.mounted()) GTEST_SKIP() << "a tmpfs needs root";
  const auto outcome = run_program(pretrain(at / "run", {"--set", "train.keep=1000"}));
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("No space left on device"));
  for (const auto& entry : fs::directory_iterator(at / "run/checkpoints"))
    EXPECT_FALSE(entry.path().filename().string().starts_with(".")) << entry.path() << " is half-written";
  // With room again, the run goes on from its last whole checkpoint to the same end.
  disk.remount(0, "100m");
  const auto resumed = run_program(resume(at / "run"));
  EXPECT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_EQ(losses(at / "run"), losses(unbroken()));
}

TEST_F(Faults, AReadOnlyFolderIsRefusedBeforeAnythingIsDone) {
  const auto at = *folder_ / "read-only";
  const Disk disk(at, "10m");
  if (!disk.mounted()) GTEST_SKIP() << "a tmpfs needs root";
  disk.remount(MS_RDONLY, "10m");
  const auto outcome = run_program(pretrain(at / "run"));
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("Read-only file system"));
  EXPECT_THAT(outcome.err, HasSubstr((at / "run").string()));
  EXPECT_THAT(outcome.err, ::testing::Not(HasSubstr("step 0:")));
}

TEST_F(Faults, DataThatVanishEndInOneLineAndALaterResumeGivesTheSameLosses) {
  const auto photos = *folder_ / "photos", away = *folder_ / "away";
  fs::create_directories(photos);
  const auto drawn = data::open_dataset(kData);
  for (int64_t i = 0; i < 64; ++i)
    io::write_atomically(photos / (std::to_string(i) + ".png"),
                         io::encode_png(data::decode_record(drawn->get(i)).pixels));
  const std::vector<std::string> settings = {"--set", "train.steps=600", "--set", "data.max_bad=0"};
  const auto whole = run_program(pretrain(*folder_ / "whole", settings, photos.string()));
  ASSERT_EQ(whole.code, 0) << whole.err;

  const auto run = *folder_ / "robbed";
  const Running program(pretrain(run, settings, photos.string()), folder_->path());
  ASSERT_TRUE(wait_until([&] { return losses_written(run) > 20; }, 120));
  fs::rename(photos, away);
  const auto outcome = program.wait();
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr(photos.string()));
  EXPECT_THAT(outcome.err, HasSubstr("No such file or directory"));
  const auto kept = losses(run).size();
  fs::rename(away, photos);
  const auto resumed = run_program(resume(run));
  EXPECT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_THAT(resumed.err, HasSubstr("resumed at step"));
  EXPECT_GT(kept, 20u);
  EXPECT_TRUE(losses(run) == losses(*folder_ / "whole"));
}

// The wall clock jumps back and forth by a day (tests/support/clock_jump.cpp): no rate, interval or loss may
// follow it.
TEST_F(Faults, AClockThatJumpsChangesNothing) {
  const auto run = *folder_ / "jumps";
  const auto outcome = Running(pretrain(run), folder_->path(), {{"LD_PRELOAD", LACUNA_CLOCK_JUMP}}).wait();
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(losses(run), losses(unbroken()));
  std::ifstream file(run / "metrics.jsonl");
  for (std::string line; std::getline(file, line);) {
    const auto json = nlohmann::json::parse(line);
    if (!json.contains("items_per_s")) continue;
    EXPECT_GT(json["items_per_s"].get<double>(), 0.02) << line;  // a day in a step would be 0.0002
    EXPECT_GE(json["data_wait_s"].get<double>(), 0) << line;
    EXPECT_LT(json["data_wait_s"].get<double>(), 600) << line;  // a day is 86,400
  }
}

}  // namespace
}  // namespace lacuna::testing
