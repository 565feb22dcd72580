#pragma once
// What the readers of motion text files share: words and numbers, small vectors and rotations.

#include <array>
#include <charconv>
#include <cmath>
#include <string>
#include <string_view>

#include "lacuna/core/error.h"
#include "lacuna/io/motion.h"

namespace lacuna::io {

using Vector3 = std::array<double, 3>;
using Matrix3 = std::array<Vector3, 3>;  ///< rows; turns column vectors

inline Matrix3 identity3() { return {{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}}; }
inline Vector3 add(const Vector3& a, const Vector3& b) { return {a[0] + b[0], a[1] + b[1], a[2] + b[2]}; }
inline Vector3 scaled(const Vector3& a, double by) { return {a[0] * by, a[1] * by, a[2] * by}; }
inline Vector3 rotated(const Matrix3& m, const Vector3& v) {
  Vector3 out{};
  for (size_t i = 0; i < 3; ++i) out[i] = m[i][0] * v[0] + m[i][1] * v[1] + m[i][2] * v[2];
  return out;
}
inline Matrix3 multiply(const Matrix3& a, const Matrix3& b) {
  Matrix3 out{};
  for (size_t i = 0; i < 3; ++i)
    for (size_t j = 0; j < 3; ++j) out[i][j] = a[i][0] * b[0][j] + a[i][1] * b[1][j] + a[i][2] * b[2][j];
  return out;
}
inline Matrix3 transposed(const Matrix3& m) {
  Matrix3 out{};
  for (size_t i = 0; i < 3; ++i)
    for (size_t j = 0; j < 3; ++j) out[i][j] = m[j][i];
  return out;
}
/// By `angle` radians about axis 0, 1 or 2.
inline Matrix3 rotation_about(size_t axis, double angle) {
  const size_t i = (axis + 1) % 3, j = (axis + 2) % 3;
  Matrix3 out = identity3();
  out[i][i] = out[j][j] = std::cos(angle);
  out[i][j] = -std::sin(angle);
  out[j][i] = std::sin(angle);
  return out;
}
/// y up -> axis 2 up, times `unit`.
inline void store_upright(const Vector3& point, double unit, float* out) {
  out[0] = static_cast<float>(point[0] * unit);
  out[1] = static_cast<float>(-point[2] * unit);
  out[2] = static_cast<float>(point[1] * unit);
}

/// Words of a text with white space between them.
class Words {
 public:
  /// Both must outlive it.
  Words(std::string_view text, const std::string& name) : text_(text), name_(name) {}
  Words(std::string&& text, const std::string& name) = delete;

  bool done() {
    skip();
    return at_ == text_.size();
  }
  std::string word() {
    skip();
    const size_t end = std::min(text_.find_first_of(" \t\r\n", at_), text_.size());
    if (end == at_) fail(name_, "ends too early", "the file is cut short: fetch it again");
    const std::string out(text_.substr(at_, end - at_));
    at_ = end;
    return out;
  }
  /// The next word without taking it; empty at the end.
  std::string peek() {
    const size_t before = at_;
    const std::string out = done() ? "" : word();
    at_ = before;
    return out;
  }
  void expect(const std::string& wanted) {
    const std::string got = word();
    if (got != wanted) fail(name_, str("'", got, "' stands where '", wanted, "' should"), "repair the file");
  }
  double number() { return number_of(word()); }
  double number_of(const std::string& text) const {
    double value = 0;
    const char* begin = text.data() + (text.starts_with('+') ? 1 : 0);
    const auto [end, error] = std::from_chars(begin, text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
      fail(name_, str("'", text, "' stands where a number should"), "repair the file");
    return value;
  }
  int64_t integer() {
    const double value = number();
    if (value != std::floor(value) || std::abs(value) > 1e15)
      fail(name_, str(value, " stands where a whole number should"), "repair the file");
    return static_cast<int64_t>(value);
  }
  Vector3 vector() {
    Vector3 out{};
    for (double& value : out) value = number();
    return out;
  }
  /// The rest of the line, without the blanks around it.
  std::string line() {
    const size_t end = std::min(text_.find('\n', at_), text_.size());
    std::string_view out = text_.substr(at_, end - at_);
    at_ = end;
    const size_t first = out.find_first_not_of(" \t\r");
    if (first == std::string_view::npos) return "";
    return std::string(out.substr(first, out.find_last_not_of(" \t\r") + 1 - first));
  }

 private:
  void skip() { at_ = std::min(text_.find_first_not_of(" \t\r\n", at_), text_.size()); }

  std::string_view text_;
  const std::string& name_;
  size_t at_ = 0;
};

/// Error when a recording of `frames` frames of `values` numbers is empty or above the limits.
void check_motion_size(const std::string& name, int64_t frames, int64_t values, const MotionLimits& limits);

}  // namespace lacuna::io
