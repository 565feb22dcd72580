#pragma once
// Films through FFmpeg's libraries (libavformat, libavcodec, libswscale): MP4, WebM, AVI, animated GIF and
// what else they read. Read from memory, which may be a mapped file: only what is asked for is touched and
// decoded.

#include <memory>
#include <string>
#include <vector>

#include "lacuna/io/image.h"

namespace lacuna::io {

/// A film already decoded.
struct Video {
  std::vector<Image> frames;  ///< one size; at least one
  double rate = 0;            ///< frames a second
};

/// What a file says about its film.
struct VideoInfo {
  std::string format, codec;  ///< "mov,mp4,...", "h264"
  int64_t height = 0, width = 0;
  int64_t frames = 0;  ///< at least 1
  double rate = 0;     ///< frames a second, on average
  double seconds() const { return static_cast<double>(frames) / rate; }
};

/// Against bombs: what is larger is refused before a frame is decoded, or while packets are counted.
struct VideoLimits {
  int64_t max_pixels = int64_t{1} << 26;  ///< of a frame
  int64_t max_frames = int64_t{1} << 22;  ///< of a film
};

/// An open film. Frames are numbered 0 .. frames-1 in the order of their time stamps. Where the container
/// keeps an index of all frames (MP4, MOV, AVI) it is used; else the packets are walked over once, undecoded.
class VideoReader {
 public:
  /// `bytes` must outlive it. Error naming `name`: no film, no frames, or above the limits.
  VideoReader(Bytes bytes, std::string name, const VideoLimits& limits = {});
  ~VideoReader();
  VideoReader(const VideoReader&) = delete;
  VideoReader& operator=(const VideoReader&) = delete;

  const VideoInfo& info() const;
  /// [H, W, 3] uint8 frames `numbers` (rising, repeats allowed): sought by time stamp, decoded from the key
  /// frame before. Error when a packet among those is broken, or the stream ends before the first of them; a
  /// stream that ends within the clip repeats its last frame.
  std::vector<Image> read(const std::vector<int64_t>& numbers);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lacuna::io
