#include "lacuna/nn/autocast.h"

#include <ATen/autocast_mode.h>

namespace lacuna::nn {

namespace {

void set(std::optional<c10::ScalarType> dtype, c10::DeviceType device) {
  at::autocast::set_autocast_enabled(device, dtype.has_value());
  if (dtype) at::autocast::set_autocast_dtype(device, *dtype);
}

}  // namespace

std::optional<c10::ScalarType> Autocast::current(c10::DeviceType device) {
  if (!at::autocast::is_autocast_enabled(device)) return std::nullopt;
  return at::autocast::get_autocast_dtype(device);
}

Autocast::Autocast(std::optional<c10::ScalarType> dtype, c10::DeviceType device)
    : changes_(dtype.has_value()), device_(device) {
  if (!changes_) return;
  before_ = current(device);
  set(dtype, device);
  at::autocast::increment_nesting();
}

Autocast::~Autocast() {
  if (!changes_) return;
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  set(before_, device_);
}

}  // namespace lacuna::nn
