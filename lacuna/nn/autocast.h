#pragma once
// Arithmetic of a forward pass: what torch.autocast is in Python.

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <optional>

namespace lacuna::nn {

/// While one lives, this thread's matrix products on `device` are computed in `dtype` (bf16, fp16); weights,
/// sums and norms stay fp32. Nothing changes with nullopt.
class Autocast {
 public:
  Autocast(std::optional<c10::ScalarType> dtype, c10::DeviceType device);
  ~Autocast();
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;
  /// What is in force on `device` now.
  static std::optional<c10::ScalarType> current(c10::DeviceType device);

 private:
  const bool changes_;
  const c10::DeviceType device_;
  std::optional<c10::ScalarType> before_;
};

}  // namespace lacuna::nn
