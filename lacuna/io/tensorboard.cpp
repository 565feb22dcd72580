#include "lacuna/io/tensorboard.h"

#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "lacuna/core/error.h"
#include "lacuna/io/crc32c.h"

namespace lacuna::io {

namespace {

// --- protocol buffers (protobuf.dev/programming-guides/encoding), as far as events need them ---------------

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

template <class T>
void put_little_endian(std::string& out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
}

enum Wire : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

void put_tag(std::string& out, uint32_t field, Wire wire) { put_varint(out, field << 3 | wire); }

void put_int(std::string& out, uint32_t field, int64_t value) {
  put_tag(out, field, kVarint);
  put_varint(out, static_cast<uint64_t>(value));
}

void put_double(std::string& out, uint32_t field, double value) {
  put_tag(out, field, kFixed64);
  put_little_endian(out, std::bit_cast<uint64_t>(value));
}

void put_float(std::string& out, uint32_t field, float value) {
  put_tag(out, field, kFixed32);
  put_little_endian(out, std::bit_cast<uint32_t>(value));
}

void put_bytes(std::string& out, uint32_t field, const std::string& bytes) {
  put_tag(out, field, kBytes);
  put_varint(out, bytes.size());
  out += bytes;
}

// --- messages: field numbers of tensorflow's event.proto, summary.proto and tensor.proto -------------------

double wall_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string event_at(int64_t step) {
  std::string event;
  put_double(event, 1, wall_time());
  if (step != 0) put_int(event, 2, step);
  return event;
}

/// Event.summary holding one Summary.Value of this tag.
std::string summary_event(const std::string& tag, int64_t step, const std::string& value_fields) {
  std::string value, summary, event = event_at(step);
  put_bytes(value, 1, tag);
  value += value_fields;
  put_bytes(summary, 1, value);
  put_bytes(event, 5, summary);
  return event;
}

// --- TFRecord framing --------------------------------------------------------------------------------------

/// TFRecord stores checksums rotated and shifted, so that a checksum of data holding checksums stays sound.
uint32_t masked_crc(std::string_view bytes) {
  return std::rotr(crc32c(std::as_bytes(std::span(bytes))), 15) + 0xa282ead8U;
}

fs::path event_path(const fs::path& folder) {
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host = {'h', 'o', 's', 't'};
  const auto seconds = static_cast<int64_t>(wall_time());
  fs::path path;
  for (int attempt = 0;; ++attempt) {  // a run that resumes within the second gets a file of its own
    path = folder / str("events.out.tfevents.", seconds, ".", host.data(), ".", ::getpid(),
                        attempt == 0 ? "" : "." + std::to_string(attempt));
    if (!fs::exists(path)) return path;
  }
}

}  // namespace

EventWriter::EventWriter(const fs::path& folder)
    : path_(event_path(folder).string()), file_(path_, std::ios::binary | std::ios::trunc) {
  std::string version = event_at(0);
  put_bytes(version, 3, "brain.Event:2");
  record(version);
  flush();
}

void EventWriter::scalar(const std::string& tag, double value, int64_t step) {
  std::string fields;
  put_float(fields, 2, static_cast<float>(value));
  record(summary_event(tag, step, fields));
}

void EventWriter::image(const std::string& tag, const std::string& png, int64_t height, int64_t width,
                        int64_t step) {
  constexpr int64_t kRgb = 3;
  std::string image, fields;
  put_int(image, 1, height);
  put_int(image, 2, width);
  put_int(image, 3, kRgb);
  put_bytes(image, 4, png);
  put_bytes(fields, 4, image);
  record(summary_event(tag, step, fields));
}

void EventWriter::text(const std::string& tag, const std::string& text, int64_t step) {
  constexpr int64_t kDtString = 7;
  std::string plugin, metadata, dimension, shape, tensor, fields;
  put_bytes(plugin, 1, "text");
  put_bytes(metadata, 1, plugin);
  put_int(dimension, 1, 1);
  put_bytes(shape, 2, dimension);
  put_int(tensor, 1, kDtString);
  put_bytes(tensor, 2, shape);
  put_bytes(tensor, 8, text);
  put_bytes(fields, 9, metadata);
  put_bytes(fields, 8, tensor);
  record(summary_event(tag, step, fields));
}

void EventWriter::purge_from(int64_t step) {
  constexpr int64_t kStart =
      1;  // SessionLog.START: what an earlier file logged from this step on no longer counts
  std::string log, event = event_at(step);
  put_int(log, 1, kStart);
  put_bytes(event, 7, log);
  record(event);
}

void EventWriter::flush() {
  if (!file_.flush())
    fail(path_, str("can't be written: ", std::strerror(errno)), "check the folder and the disk's space");
}

void EventWriter::record(const std::string& event) {
  std::string framed;
  put_little_endian(framed, uint64_t{event.size()});
  put_little_endian(framed, masked_crc(framed));
  framed += event;
  put_little_endian(framed, masked_crc(event));
  if (!file_.write(framed.data(), static_cast<std::streamsize>(framed.size())))
    fail(path_, str("can't be written: ", std::strerror(errno)), "check the folder and the disk's space");
}

}  // namespace lacuna::io
