#include "lacuna/train/run_folder.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "lacuna/core/error.h"
#include "lacuna/io/animation.h"
#include "lacuna/io/image.h"

namespace lacuna::train {

namespace {

namespace fs = io::fs;

fs::path metrics_path(const fs::path& run) { return run / "metrics.jsonl"; }

bool holds_run(const fs::path& path) {
  for (const char* name : {"config.toml", "metrics.jsonl", "checkpoints"})
    if (fs::exists(path / name)) return true;
  return false;
}

/// Makes a new run's folder, or finds the one to continue; nothing is written into a folder that is refused.
fs::path prepared(fs::path path, bool resume) {
  if (resume && !holds_run(path))
    fail(path.string(), "holds no run to continue", "check --out, or start a new run without --resume");
  if (!resume && holds_run(path))
    fail(path.string(), "already holds a run", "give --resume to continue it or choose another --out");
  io::make_folder(path);
  return path;
}

/// One write of the whole line: a reader or a killed process sees all of it or, on a full disk, an Error
/// follows.
void append_line(const fs::path& path, const std::string& line) {
  const int file = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  ssize_t written = -1;
  if (file >= 0) written = ::write(file, line.data(), line.size());
  const int error = written < 0 ? errno : ENOSPC;
  if (file >= 0) ::close(file);
  if (written != static_cast<ssize_t>(line.size()))
    fail(path.string(), str("can't be written: ", std::strerror(error)),
         "free some space or check permissions, then continue with --resume");
}

}  // namespace

RunFolder::RunFolder(fs::path path, bool resume)
    : path_(prepared(std::move(path), resume)),
      lock_(path_),
      events_(std::make_unique<io::EventWriter>(path_)) {}

void RunFolder::write_config(const std::string& toml) { io::write_atomically(path_ / "config.toml", toml); }

void RunFolder::log(const Json& metrics) {
  append_line(metrics_path(path_), metrics.dump() + "\n");
  const int64_t step = metrics.at("step").get<int64_t>();
  for (const auto& [key, value] : metrics.items())
    if (key != "step" && value.is_number()) events_->scalar(key, value.get<double>(), step);
  events_->flush();
}

void RunFolder::rewind_metrics(int64_t step) {
  events_->purge_from(step + 1);
  std::string kept;
  for (const Json& line : read_metrics(path_))
    if (line.at("step").get<int64_t>() <= step) kept += line.dump() + "\n";
  io::write_atomically(metrics_path(path_), kept);
}

void RunFolder::save_preview(const at::Tensor& panel, int64_t step) {
  char name[40];
  std::snprintf(name, sizeof name, "step-%08lld.png", static_cast<long long>(step));
  const std::string png = io::encode_png(panel);
  io::make_folder(path_ / "previews");
  io::write_atomically(path_ / "previews" / name, png);
  events_->image("preview", png, panel.size(0), panel.size(1), step);
  events_->flush();
}

void RunFolder::save_animation(const at::Tensor& frames, double rate, int64_t step) {
  char name[40];
  std::snprintf(name, sizeof name, "step-%08lld.apng", static_cast<long long>(step));
  io::make_folder(path_ / "previews");
  io::write_atomically(path_ / "previews" / name, io::encode_apng(frames, rate));
}

std::vector<Json> read_metrics(const fs::path& run) {
  const fs::path path = metrics_path(run);
  std::vector<Json> lines;
  if (!fs::exists(path)) return lines;
  const std::string text = io::read_file(path);
  size_t begin = 0;
  for (size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    Json line = Json::parse(text.begin() + begin, text.begin() + end, nullptr, /*allow_exceptions=*/false);
    if (!line.is_object() || !line.contains("step") || !line["step"].is_number_integer())
      fail(path.string(), str("line ", lines.size() + 1, " is no record with a step"), "remove that line");
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace lacuna::train
