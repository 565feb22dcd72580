#include "lacuna/data/motion.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"

namespace lacuna::data {

namespace {

class MotionFilling final : public Filling {
 public:
  MotionFilling(const MotionTransform& transform, int64_t rows)
      : transform_(transform), rows_(static_cast<size_t>(rows)) {}
  void fill(int64_t row, const Record& record, Stream random) override {
    rows_[static_cast<size_t>(row)] = transform_(record, random);
  }
  Batch finish(const std::vector<int64_t>& rows) override {
    Batch batch;
    std::vector<at::Tensor> filled;
    for (const int64_t row : rows) filled.push_back(rows_[static_cast<size_t>(row)]);
    if (!filled.empty()) batch.motion = at::stack(filled);
    return batch;
  }

 private:
  const MotionTransform& transform_;
  std::vector<at::Tensor> rows_;
};

/// positions [T, J, 3], turned by `angle` about the upright axis.
at::Tensor turned(const at::Tensor& positions, double angle) {
  const auto c = std::cos(angle), s = std::sin(angle);
  const auto matrix =
      at::tensor({c, -s, 0.0, s, c, 0.0, 0.0, 0.0, 1.0}, at::kDouble).view({3, 3}).to(at::kFloat);
  return at::matmul(positions, matrix);
}

bool keeps_rate(const io::Motion& motion, double rate) {
  return rate <= 0 || motion.rate <= 0 || rate == motion.rate;
}

/// Frames of a motion once it is resampled.
int64_t frames_at(const io::Motion& motion, double rate) {
  if (keeps_rate(motion, rate)) return motion.frames();
  return static_cast<int64_t>(std::floor(static_cast<double>(motion.frames() - 1) / motion.rate * rate)) + 1;
}

/// The same of a record; 0 when it can't be read.
int64_t frames_at(const Dataset& dataset, int64_t index, double rate) {
  try {
    return frames_at(decode_motion(dataset.get(index)), rate);
  } catch (const Error&) {
    return 0;
  }
}

/// A set made of places in another: record and first frame; -1: the record as it is.
struct Place {
  int64_t record, start;
};

class Places final : public Dataset {
 public:
  Places(std::shared_ptr<Dataset> whole, std::vector<Place> places, double rate, int64_t frames)
      : whole_(std::move(whole)), places_(std::move(places)), rate_(rate), frames_(frames) {}
  int64_t size() const override { return std::ssize(places_); }
  Record get(int64_t index) const override {
    const auto& place = places_[static_cast<size_t>(index)];
    Record record = whole_->get(place.record);
    if (place.start < 0) return record;
    auto motion = resample(decode_motion(record), rate_);
    motion.positions = motion.positions.slice(0, place.start, place.start + frames_);
    record.key += str("@", place.start);
    record.content = std::move(motion);
    return record;
  }
  int64_t label(int64_t index) const override {
    return whole_->label(places_[static_cast<size_t>(index)].record);
  }
  std::vector<std::string> classes() const override { return whole_->classes(); }
  std::string uri() const override { return whole_->uri(); }
  std::string modality() const override { return whole_->modality(); }

 private:
  std::shared_ptr<Dataset> whole_;
  std::vector<Place> places_;
  double rate_;
  int64_t frames_;
};

/// Lengths of all records that hold a window; Error when none does.
std::vector<std::pair<int64_t, int64_t>> long_records(const Dataset& whole, double rate, int64_t frames) {
  std::vector<std::pair<int64_t, int64_t>> out;
  for (int64_t i = 0; i < whole.size(); ++i)
    if (const int64_t length = frames_at(whole, i, rate); length >= frames) out.emplace_back(i, length);
  if (out.empty())
    fail(whole.uri(), str("none of its recordings has ", frames, " frames"),
         "lower mask.t_his and mask.t_pred, or raise motion.rate");
  if (std::ssize(out) < whole.size())
    log::info(str(whole.size() - std::ssize(out), " of ", whole.size(), " recordings have fewer than ",
                  frames, " frames and are left out"));
  return out;
}

}  // namespace

void MotionConfig::fields(Fields& f) {
  f("rate", rate, "frames a second that recordings are brought to; 0: as recorded").range(0, 1e4);
  f("keep", keep, "joints that are kept, the root first; empty: all").range(0);
  f("parents", parents, "of the kept joints; filled from the data").range(-1);
  f("epoch_samples", epoch_samples, "windows of an epoch; 0: as many as fit one behind the other").range(0);
  f("rotate", rotate, "probability that a window is turned about the upright axis").range(0, 1);
  f("mirror", mirror, "probability of each of the two level axes to be flipped").range(0, 1);
}

io::Motion decode_motion(const Record& record) {
  if (const auto* motion = std::get_if<io::Motion>(&record.content)) return *motion;
  fail(record.key, "is no motion", "give a data set of motions, e.g. motion:DIR");
}

io::Motion resample(const io::Motion& motion, double rate) {
  if (keeps_rate(motion, rate)) return motion;
  const int64_t last = motion.frames() - 1, count = frames_at(motion, rate);
  const auto at =
      (at::arange(count, at::kDouble) * (motion.rate / rate)).clamp_max(static_cast<double>(last));
  const auto before = at.floor().to(at::kLong);
  const auto share = (at - before).to(at::kFloat).view({-1, 1, 1});
  const auto pick = [&](const at::Tensor& index) { return motion.positions.index_select(0, index); };
  auto positions = pick(before) * (1 - share) + pick((before + 1).clamp_max(last)) * share;
  return {motion.skeleton, positions, rate};
}

io::Skeleton keep_joints(const io::Skeleton& skeleton, const std::vector<int64_t>& keep) {
  if (keep.empty()) return skeleton;
  const int64_t joints = std::ssize(skeleton.joints);
  std::vector<int64_t> place(static_cast<size_t>(joints), -1);
  io::Skeleton out;
  for (const int64_t joint : keep) {
    if (joint >= joints)
      fail(str("motion.keep ", joint), str("the skeleton has ", joints, " joints"), "count them from 0");
    int64_t up = skeleton.parents[static_cast<size_t>(joint)];
    while (up >= 0 && place[static_cast<size_t>(up)] < 0) up = skeleton.parents[static_cast<size_t>(up)];
    if ((up < 0) != out.joints.empty())
      fail(
          str("motion.keep ", joint),
          out.joints.empty() ? "the first joint hangs on another one" : "no joint kept before it is above it",
          "name the root first, and parents before their children");
    place[static_cast<size_t>(joint)] = std::ssize(out.joints);
    out.joints.push_back(skeleton.joints[static_cast<size_t>(joint)]);
    out.parents.push_back(up < 0 ? -1 : place[static_cast<size_t>(up)]);
  }
  return out;
}

std::unique_ptr<Filling> MotionTransform::begin(int64_t rows) const {
  return std::make_unique<MotionFilling>(*this, rows);
}

std::shared_ptr<const Transform> MotionTransform::evaluating() const {
  auto out = std::make_shared<MotionTransform>(config_, frames_);
  out->evaluating_ = true;
  return out;
}

at::Tensor MotionTransform::operator()(const Record& record, Stream random) const {
  const auto motion = resample(decode_motion(record), config_.rate);
  const int64_t spare = motion.frames() - frames_;
  if (spare < 0)
    fail(record.key, str("has ", motion.frames(), " frames, a window needs ", frames_),
         "leave it out, or use shorter windows");
  const auto joints = static_cast<int64_t>(config_.parents.size());
  auto positions = motion.positions;
  if (!config_.keep.empty()) positions = positions.index_select(1, at::tensor(config_.keep, at::kLong));
  if (positions.size(1) != joints)
    fail(record.key, str("has ", positions.size(1), " joints, the others ", joints),
         "keep recordings of one skeleton together, or choose joints by motion.keep");
  const int64_t start = evaluating_ || spare == 0 ? 0 : random.below(spare + 1);
  auto window = positions.slice(0, start, start + frames_);
  window = window - window.slice(1, 0, 1);  // relative to the root
  if (evaluating_) return window.contiguous();
  if (random.uniform() < config_.rotate) window = turned(window, random.uniform(0, 2 * std::numbers::pi));
  for (const int64_t axis : {0, 1})
    if (random.uniform() < config_.mirror) window.select(2, axis).neg_();
  return window.contiguous();
}

std::shared_ptr<Dataset> motion_samples(std::shared_ptr<Dataset> whole, const MotionConfig& config,
                                        int64_t frames) {
  std::map<int64_t, std::vector<int64_t>> by_class;
  int64_t fit = 0;
  for (const auto& [record, length] : long_records(*whole, config.rate, frames)) {
    by_class[whole->label(record)].push_back(record);
    fit += length / frames;
  }
  const int64_t count = config.epoch_samples > 0 ? config.epoch_samples : fit;
  std::vector<Place> places;
  for (int64_t round = 0; std::ssize(places) < count; ++round)
    for (const auto& [label, records] : by_class)
      if (std::ssize(places) < count)
        places.push_back({records[static_cast<size_t>(round % std::ssize(records))], -1});
  return std::make_shared<Places>(std::move(whole), std::move(places), config.rate, frames);
}

std::shared_ptr<Dataset> motion_windows(std::shared_ptr<Dataset> whole, const MotionConfig& config,
                                        int64_t frames, int64_t stride) {
  std::vector<Place> places;
  for (const auto& [record, length] : long_records(*whole, config.rate, frames))
    for (int64_t start = 0; start + frames <= length; start += stride) places.push_back({record, start});
  return std::make_shared<Places>(std::move(whole), std::move(places), config.rate, frames);
}

bool is_motion_extension(std::string extension) {
  if (extension.starts_with(".")) extension.erase(0, 1);
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return extension == "bvh" || extension == "amc" || extension == "npz";
}

}  // namespace lacuna::data
