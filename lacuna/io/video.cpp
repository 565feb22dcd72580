#include "lacuna/io/video.h"

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/imgutils.h>
#include <libswscale/swscale.h>
}

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "lacuna/core/error.h"

namespace lacuna::io {

namespace {

constexpr int kBuffer = 1 << 16;       // of AVIO, which reads ahead so much
constexpr double kUnknownRate = 25;    // of a film that says nothing about it: FFmpeg's own assumption
constexpr int64_t kMinFrameBytes = 1;  // an index that claims more frames than bytes lies

std::string words(int error) {
  char text[AV_ERROR_MAX_STRING_SIZE] = {};
  av_strerror(error, text, sizeof text);
  return text;
}

/// The file as AVIO reads it.
struct Memory {
  Bytes bytes;
  int64_t position = 0;

  static int read(void* self, uint8_t* to, int count) {
    auto& memory = *static_cast<Memory*>(self);
    const int64_t left = std::ssize(memory.bytes) - memory.position;
    if (left <= 0) return AVERROR_EOF;
    const auto taken = std::min<int64_t>(left, count);
    std::memcpy(to, memory.bytes.data() + memory.position, static_cast<size_t>(taken));
    memory.position += taken;
    return static_cast<int>(taken);
  }
  static int64_t seek(void* self, int64_t offset, int whence) {
    auto& memory = *static_cast<Memory*>(self);
    const int64_t size = std::ssize(memory.bytes);
    if (whence & AVSEEK_SIZE) return size;
    whence &= ~AVSEEK_FORCE;
    const int64_t to = offset + (whence == SEEK_CUR ? memory.position : whence == SEEK_END ? size : 0);
    if (to < 0) return AVERROR(EINVAL);
    return memory.position = std::min(to, size);
  }
};

struct Free {
  void operator()(AVIOContext* io) const {
    av_freep(&io->buffer);
    avio_context_free(&io);
  }
  void operator()(AVFormatContext* file) const { avformat_close_input(&file); }
  void operator()(AVCodecContext* codec) const { avcodec_free_context(&codec); }
  void operator()(AVPacket* packet) const { av_packet_free(&packet); }
  void operator()(AVFrame* frame) const { av_frame_free(&frame); }
  void operator()(SwsContext* scaler) const { sws_freeContext(scaler); }
};
template <class T>
using Owned = std::unique_ptr<T, Free>;

/// FFmpeg writes of what it meets to stderr; our errors say it once.
void silence() {
  static std::once_flag once;
  std::call_once(once, [] { av_log_set_level(AV_LOG_QUIET); });
}

}  // namespace

struct VideoReader::Impl {
  Impl(Bytes bytes, std::string film, const VideoLimits& film_limits)
      : name(std::move(film)), limits(film_limits), memory{bytes} {
    silence();
    if (bytes.empty()) fail(name, "is empty", "remove it");
    open_file();
    find_stream();
    open_codec();
    find_times();
    info.frames = std::ssize(times);
    info.format = file->iformat->name;
    info.codec = avcodec_get_name(stream->codecpar->codec_id);
    info.rate = rate();
  }

  [[noreturn]] void broken(const std::string& why) const { fail(name, why, "repair or remove it"); }

  void open_file() {
    auto* buffer = static_cast<unsigned char*>(av_malloc(kBuffer));
    io.reset(avio_alloc_context(buffer, kBuffer, 0, &memory, Memory::read, nullptr, Memory::seek));
    LACUNA_ASSERT(io);
    AVFormatContext* opened = avformat_alloc_context();
    opened->pb = io.get();
    opened->flags |= AVFMT_FLAG_CUSTOM_IO;
    // Frees the context itself when it fails.
    if (const int error = avformat_open_input(&opened, nullptr, nullptr, nullptr); error < 0)
      fail(name, str("is no film that can be read (", words(error), ")"), "give MP4, WebM, AVI or GIF");
    file.reset(opened);
    if (const int error = avformat_find_stream_info(file.get(), nullptr); error < 0)
      broken(str("its streams can't be told (", words(error), ")"));
  }

  void find_stream() {
    const AVCodec* found = nullptr;
    const int index = av_find_best_stream(file.get(), AVMEDIA_TYPE_VIDEO, -1, -1, &found, 0);
    if (index < 0 || !found) fail(name, "holds no moving picture", "give MP4, WebM, AVI or GIF");
    codec_of_stream = found;
    stream = file->streams[index];
    for (unsigned i = 0; i < file->nb_streams; ++i)
      if (static_cast<int>(i) != index) file->streams[i]->discard = AVDISCARD_ALL;
    const auto& sizes = *stream->codecpar;
    info.height = sizes.height, info.width = sizes.width;
    if (info.height < 1 || info.width < 1) broken("its header has no size");
    if (info.height * info.width > limits.max_pixels)
      fail(name,
           str("its frames have ", info.height, " x ", info.width, " pixels, more than ", limits.max_pixels),
           "make it smaller, or raise data.max_pixels");
  }

  void open_codec() {
    codec.reset(avcodec_alloc_context3(codec_of_stream));
    LACUNA_ASSERT(codec);
    avcodec_parameters_to_context(codec.get(), stream->codecpar);
    codec->pkt_timebase = stream->time_base;
    codec->thread_count = 1;  // the loader's workers are the threads
    codec->err_recognition = AV_EF_EXPLODE;
    codec->max_pixels = limits.max_pixels;
    if (const int error = avcodec_open2(codec.get(), codec_of_stream, nullptr); error < 0)
      broken(str("its codec can't be opened (", words(error), ")"));
  }

  void add_time(int64_t time) {
    if (std::ssize(times) >= limits.max_frames)
      fail(name, str("holds more than ", limits.max_frames, " frames"),
           "cut it into shorter clips, or raise video.max_frames");
    times.push_back(time);
  }

  // MP4, MOV and AVI index every frame; others index key frames or nothing. The stamps there are those of
  // decoding; those of showing are the same ones, moved by the delay of frames that are shown later.
  bool times_from_index() {
    const int64_t count = avformat_index_get_entries_count(stream);
    if (count < 1 || count != stream->nb_frames || count * kMinFrameBytes > std::ssize(memory.bytes))
      return false;
    const int64_t first = avformat_index_get_entry(stream, 0)->timestamp;
    delay = stream->start_time != AV_NOPTS_VALUE ? std::max<int64_t>(0, stream->start_time - first) : 0;
    for (int64_t i = 0; i < count; ++i)
      add_time(avformat_index_get_entry(stream, static_cast<int>(i))->timestamp + delay);
    return true;
  }

  void times_from_packets() {
    const Owned<AVPacket> packet(av_packet_alloc());
    int64_t last = AV_NOPTS_VALUE;
    while (av_read_frame(file.get(), packet.get()) >= 0) {
      const bool ours = packet->stream_index == stream->index;
      const bool shown = ours && (packet->flags & AV_PKT_FLAG_DISCARD) == 0 && packet->size > 0;
      int64_t time = packet->pts != AV_NOPTS_VALUE ? packet->pts : packet->dts;
      if (time == AV_NOPTS_VALUE)
        time = last == AV_NOPTS_VALUE ? 0 : last + std::max<int64_t>(1, packet->duration);
      if (shown) add_time(last = time);
      if (shown && packet->pts != AV_NOPTS_VALUE && packet->dts != AV_NOPTS_VALUE)
        delay = std::max(delay, packet->pts - packet->dts);
      av_packet_unref(packet.get());
    }
    rewind();
  }

  void find_times() {
    if (!times_from_index()) times_from_packets();
    if (times.empty()) broken("holds no frames");
    std::sort(times.begin(), times.end());
  }

  double rate() const {
    const double span = static_cast<double>(times.back() - times.front()) * av_q2d(stream->time_base);
    if (span > 0) return static_cast<double>(times.size() - 1) / span;
    const AVRational said = stream->avg_frame_rate;
    return said.num > 0 && said.den > 0 ? av_q2d(said) : kUnknownRate;
  }

  void rewind() {
    // A raw stream that can't seek by time starts over by byte.
    if (avformat_seek_file(file.get(), stream->index, INT64_MIN, times.empty() ? 0 : times.front(), INT64_MAX,
                           0) < 0)
      av_seek_frame(file.get(), stream->index, 0, AVSEEK_FLAG_BYTE);
    avcodec_flush_buffers(codec.get());
  }

  /// To the key frame at or before `time`. Containers seek by the stamps of decoding, which run ahead.
  void seek(int64_t time) {
    if (av_seek_frame(file.get(), stream->index, time - delay, AVSEEK_FLAG_BACKWARD) < 0) rewind();
    avcodec_flush_buffers(codec.get());
    draining = false;
    next_time = times.front();
  }

  /// The next frame in the order of showing; false at the end. Error on a broken packet.
  bool decode() {
    for (;;) {
      const int got = avcodec_receive_frame(codec.get(), frame.get());
      if (got == 0) return true;
      if (got == AVERROR_EOF) return false;
      if (got != AVERROR(EAGAIN)) broken(str("a frame can't be decoded (", words(got), ")"));
      const int read = av_read_frame(file.get(), packet.get());
      if (read < 0) {
        if (read != AVERROR_EOF) broken(str("can't be read to its end (", words(read), ")"));
        if (draining) return false;
        draining = true;
        avcodec_send_packet(codec.get(), nullptr);
        continue;
      }
      int sent = 0;
      if (packet->stream_index == stream->index) sent = avcodec_send_packet(codec.get(), packet.get());
      av_packet_unref(packet.get());
      if (sent < 0 && sent != AVERROR(EAGAIN)) broken(str("a frame can't be decoded (", words(sent), ")"));
    }
  }

  Image to_image() {
    const int h = frame->height, w = frame->width;
    if (static_cast<int64_t>(h) * w > limits.max_pixels || h < 1 || w < 1)
      fail(name, str("a frame has ", h, " x ", w, " pixels"), "repair it, or raise data.max_pixels");
    scaler.reset(sws_getCachedContext(scaler.release(), w, h, static_cast<AVPixelFormat>(frame->format), w, h,
                                      AV_PIX_FMT_RGB24, SWS_BILINEAR | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT,
                                      nullptr, nullptr, nullptr));
    if (!scaler) broken("its pixels are of a kind that can't be turned to RGB");
    const auto pixels = at::empty({h, w, 3}, at::kByte);
    uint8_t* to[4] = {pixels.mutable_data_ptr<uint8_t>(), nullptr, nullptr, nullptr};
    const int stride[4] = {3 * w, 0, 0, 0};
    // swscale's vector code may write past a line's end; lines lie close together only in our tensor.
    std::vector<uint8_t> line(static_cast<size_t>(3 * w * h) + 64);
    to[0] = line.data();
    sws_scale(scaler.get(), frame->data, frame->linesize, 0, h, to, stride);
    std::memcpy(pixels.mutable_data_ptr(), line.data(), static_cast<size_t>(3 * w * h));
    if (size.h == 0) size = {h, w};
    if (size.h != h || size.w != w) broken("its frames change their size");
    return {pixels, 255};
  }

  int64_t time_of_frame() const {
    return frame->best_effort_timestamp != AV_NOPTS_VALUE ? frame->best_effort_timestamp : next_time;
  }

  std::vector<Image> read(const std::vector<int64_t>& numbers) {
    LACUNA_ASSERT(!numbers.empty() && std::is_sorted(numbers.begin(), numbers.end()) &&
                  numbers.front() >= 0 && numbers.back() < info.frames);
    frame.reset(av_frame_alloc());
    packet.reset(av_packet_alloc());
    seek(times[static_cast<size_t>(numbers.front())]);
    std::vector<Image> out;
    Image held;  // the last frame at or before the wanted time
    while (out.size() < numbers.size()) {
      const bool more = decode();
      if (more) {
        const int64_t time = time_of_frame();
        next_time = time + std::max<int64_t>(1, frame->pkt_duration);
        // What was wanted before this frame's time is the frame before it.
        while (out.size() < numbers.size() && times[static_cast<size_t>(numbers[out.size()])] < time &&
               held.pixels.defined())
          out.push_back(held);
        if (out.size() < numbers.size() && needed(numbers[out.size()], time)) held = to_image();
        av_frame_unref(frame.get());
        continue;
      }
      if (!held.pixels.defined()) broken("ends before the frames that its header promises");
      out.resize(numbers.size(), held);
    }
    return out;
  }

  /// Whether the frame shown from `time` on may be the wanted one: no later frame starts before it.
  bool needed(int64_t number, int64_t time) const {
    const int64_t wanted = times[static_cast<size_t>(number)];
    if (time >= wanted) return true;
    const auto later = std::upper_bound(times.begin(), times.end(), time);
    return later == times.end() || *later > wanted;
  }

  std::string name;
  VideoLimits limits;
  Memory memory;
  VideoInfo info;
  Owned<AVIOContext> io;
  Owned<AVFormatContext> file;
  const AVCodec* codec_of_stream = nullptr;
  AVStream* stream = nullptr;
  Owned<AVCodecContext> codec;
  Owned<SwsContext> scaler;
  Owned<AVPacket> packet;
  Owned<AVFrame> frame;
  std::vector<int64_t> times;  ///< of every frame, in the stream's units, rising
  Size2 size;                  ///< of the frames; 0: none decoded yet
  int64_t delay = 0;           ///< of showing behind decoding, at most
  int64_t next_time = 0;       ///< of a frame that does not say its own
  bool draining = false;
};

VideoReader::VideoReader(Bytes bytes, std::string name, const VideoLimits& limits)
    : impl_(std::make_unique<Impl>(bytes, std::move(name), limits)) {}

VideoReader::~VideoReader() = default;

const VideoInfo& VideoReader::info() const { return impl_->info; }

std::vector<Image> VideoReader::read(const std::vector<int64_t>& numbers) { return impl_->read(numbers); }

}  // namespace lacuna::io
