#include "lacuna/train/film.h"

#include "lacuna/core/torch.h"

#include <algorithm>

namespace lacuna::train {

namespace {

constexpr int64_t kStripFilms = 3, kStripFrames = 5, kMovingFilms = 4;

/// [B, ?, t, ...] -> [B * frames, ?, ...]: of each film the rows `index` of dimension `dim`, film by film.
Tensor pick(const Tensor& of_films, int64_t films, int64_t dim, const Tensor& index) {
  if (!of_films.defined()) return of_films;
  return of_films.slice(0, 0, films).cpu().index_select(dim, index).movedim(dim, 1).flatten(0, 1);
}

/// Frames `frames` of the first films, as a preview of pictures.
Preview pictures_of(const Preview& preview, int64_t films, const std::vector<int64_t>& frames) {
  const auto index = torch::tensor(frames, torch::kLong);
  const int64_t tubelet = preview.video.size(2) / preview.hidden_cubes.size(1);
  const auto cubes = index.div(tubelet, "floor");
  Preview out{.image = pick(preview.video, films, 2, index),
              .hidden = pick(preview.hidden_cubes, films, 1, cubes),
              .predicted = pick(preview.predicted_video, films, 2, index),
              .per_patch_units = preview.per_patch_units};
  out.hidden_note = preview.hidden_note;
  if (!preview.predicted_video.defined() && preview.cube_error.defined()) {
    out.heat = pick(preview.cube_error, films, 1, cubes);
    out.heat_title = "error";
  }
  return out;
}

}  // namespace

Tensor film_strip(const Preview& preview, const data::Normalization& normalization) {
  const int64_t T = preview.video.size(2), count = std::min(T, kStripFrames);
  std::vector<int64_t> frames;
  for (int64_t i = 0; i < count; ++i) frames.push_back(count > 1 ? i * (T - 1) / (count - 1) : 0);
  auto shown = pictures_of(preview, std::min(kStripFilms, preview.video.size(0)), frames);
  if (shown.hidden_note.empty()) shown.hidden_note = "time downwards";
  return preview_panel(shown, normalization);
}

Tensor moving_panel(const Preview& preview, const data::Normalization& normalization) {
  std::vector<Tensor> panels;
  for (int64_t t = 0; t < preview.video.size(2); ++t)
    panels.push_back(preview_panel(pictures_of(preview, std::min(kMovingFilms, preview.video.size(0)), {t}),
                                   normalization));
  return torch::stack(panels);
}

}  // namespace lacuna::train
