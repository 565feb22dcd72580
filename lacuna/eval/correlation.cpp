// eval correlation: does the training loss tell how good the features are? (SALT, section 4.4: R^2 of the
// student's loss and accuracy over the checkpoints of a run.)

#include <algorithm>
#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/eval/correlation.h"
#include "lacuna/eval/linear.h"
#include "lacuna/train/checkpoint.h"
#include "lacuna/train/run_folder.h"

namespace lacuna::eval {

double pearson(const std::vector<double>& x, const std::vector<double>& y) {
  LACUNA_ASSERT(x.size() == y.size());
  const auto n = static_cast<double>(x.size());
  double mean_x = 0, mean_y = 0, xy = 0, xx = 0, yy = 0;
  for (size_t i = 0; i < x.size(); ++i) mean_x += x[i] / n, mean_y += y[i] / n;
  for (size_t i = 0; i < x.size(); ++i) {
    const double dx = x[i] - mean_x, dy = y[i] - mean_y;
    xy += dx * dy, xx += dx * dx, yy += dy * dy;
  }
  return xx > 0 && yy > 0 ? xy / std::sqrt(xx * yy) : 0;
}

namespace {

constexpr size_t kFewest = 4;  // checkpoints that a correlation is worth computing of

/// The step that a checkpoint's folder is named after.
int64_t step_of(const io::fs::path& checkpoint) {
  return std::stoll(checkpoint.filename().string().substr(std::string("step-").size()));
}

/// Mean of the losses logged in (from, to].
double mean_loss(const std::vector<Json>& metrics, int64_t from, int64_t to) {
  double sum = 0;
  int64_t count = 0;
  for (const auto& line : metrics) {
    const int64_t step = line.value("step", int64_t{-1});
    if (step <= from || step > to || !line.contains("loss")) continue;
    sum += line.at("loss").get<double>(), ++count;
  }
  return count > 0 ? sum / static_cast<double>(count) : NAN;
}

Result run(const Request& request) {
  if (request.folder.empty())
    fail("eval correlation", "weights without their run say nothing of its loss", "give the run's folder");
  const auto folder = request.folder.parent_path().parent_path();
  const auto metrics = train::read_metrics(folder);
  std::vector<double> losses, scores;
  Json points = Json::array(), table = Json::array();
  int64_t before = 0;
  for (const auto& path : train::list_checkpoints(folder)) {
    const int64_t step = step_of(path);
    if (step == 0) continue;  // the untrained network
    const auto model = load_model(path.string(), request.settings);
    const auto loss = mean_loss(metrics, before, step);
    before = step;
    if (!std::isfinite(loss)) continue;
    const auto train = labelled_features(model, request.train, request.config, "--data"),
               test = labelled_features(model, request.test, request.config, "--test");
    const double top1 = linear_probe(train, test, request.config).metrics.at("top1").get<double>();
    log::info(str("step ", step, ": loss ", loss, ", top1 ", top1));
    losses.push_back(loss), scores.push_back(top1);
    points.push_back({loss, top1});
    table.push_back({{"step", step}, {"loss", loss}, {"top1", top1}});
  }
  if (losses.size() < kFewest)
    fail(folder.string(),
         str("holds ", losses.size(), " checkpoints with a loss, a correlation needs ", kFewest),
         "train with train.keep=20 and train.checkpoint_every set");
  const double r = pearson(losses, scores);
  std::sort(points.begin(), points.end());
  Result result;
  result.metrics = {
      {"r", r},
      {"r2", r * r},
      {"agreement", -r},
      {"checkpoints", losses.size()},
      {"top1", scores.back()},
      {"chance",
       majority_share(labelled_features(request.model, request.test, request.config, "--test").labels)}};
  result.settings = {{"table", std::move(table)},
                     {"probe", "linear, on features of every checkpoint"},
                     {"loss", "mean of the losses logged since the checkpoint before"},
                     {"agreement", "-r: 1 when accuracy rises in step with a falling loss"}};
  char note[96];
  std::snprintf(note, sizeof note, "A point for each checkpoint; R^2 = %.3f, r = %.3f.", r * r, r);
  result.curves.push_back({{"title", "Loss against accuracy"},
                           {"note", note},
                           {"x", "loss"},
                           {"shares", true},
                           {"series", {{"linear probe", std::move(points)}}}});
  return result;
}

const Register<Protocol> registered{
    "correlation",
    {.summary = "training loss against linear-probe accuracy over the checkpoints of a run (train.keep)",
     .run = run}};

}  // namespace
}  // namespace lacuna::eval
