#include "lacuna/data/batch.h"

#include <ATen/ATen.h>

#include <numeric>

#include "lacuna/core/error.h"

namespace lacuna::data {

const std::vector<std::pair<const char*, at::Tensor Batch::*>>& Batch::inputs() {
  static const std::vector<std::pair<const char*, at::Tensor Batch::*>> all{
      {"image", &Batch::image},
      {"video", &Batch::video},
      {"wave", &Batch::wave},
      {"wave_length", &Batch::wave_length},
      {"frame_label", &Batch::frame_label},
      {"tokens", &Batch::tokens},
      {"token_label", &Batch::token_label},
      {"motion", &Batch::motion},
      {"points", &Batch::points},
      {"point_count", &Batch::point_count},
      {"point_label", &Batch::point_label}};
  return all;
}

at::Device Batch::device() const {
  for (const auto& [name, member] : inputs())
    if ((this->*member).defined()) return (this->*member).device();
  LACUNA_ASSERT(false && "a batch without any input");
}

Batch Batch::to(at::Device device) const {
  Batch out = *this;
  for (const auto& [name, member] : inputs())
    if ((out.*member).defined()) out.*member = (out.*member).to(device);
  return out;
}

Batch Batch::select(const std::vector<int64_t>& rows) const {
  Batch out;
  const auto index = at::tensor(rows, at::kLong);
  const auto pick = [&](const at::Tensor& whole) {
    return whole.defined() ? whole.index_select(0, index.to(whole.device())) : whole;
  };
  for (const auto& [name, member] : inputs()) out.*member = pick(this->*member);
  out.label = pick(label);
  for (const int64_t row : rows) {
    if (!sample.empty()) out.sample.push_back(sample[static_cast<size_t>(row)]);
    if (!key.empty()) out.key.push_back(key[static_cast<size_t>(row)]);
  }
  return out;
}

Batch Batch::first(int64_t rows) const {
  std::vector<int64_t> all(static_cast<size_t>(rows));
  std::iota(all.begin(), all.end(), 0);
  return select(all);
}

double Batch::input_bytes() const {
  double bytes = 0;
  for (const auto& [name, member] : inputs())
    if ((this->*member).defined()) bytes += static_cast<double>((this->*member).nbytes());
  return bytes;
}

}  // namespace lacuna::data
