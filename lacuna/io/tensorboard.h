#pragma once
// TensorBoard event files (TFRecord framing with masked CRC-32C around tensorflow.Event protocol buffers).

#include <fstream>
#include <string>

#include "lacuna/io/file.h"

namespace lacuna::io {

/// Appends to a new `events.out.tfevents.<time>.<host>.<pid>` in a folder. Not thread-safe.
class EventWriter {
 public:
  /// Error when the folder can't be written to.
  explicit EventWriter(const fs::path& folder);
  void scalar(const std::string& tag, double value, int64_t step);
  void image(const std::string& tag, const std::string& png, int64_t height, int64_t width, int64_t step);
  void text(const std::string& tag, const std::string& text, int64_t step);
  /// Tells TensorBoard to drop what was logged at or after this step (a resumed run).
  void purge_from(int64_t step);
  void flush();

 private:
  void record(const std::string& event);

  std::string path_;
  std::ofstream file_;
};

}  // namespace lacuna::io
