#pragma once
// Films made by FFmpeg's libraries at test time.

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/imgutils.h>
}

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>

#include "tests/support/program.h"

namespace lacuna::testing {

/// How a film is written.
struct FilmKind {
  std::string ending = "mp4";  ///< mp4, avi, mkv, gif
  AVCodecID codec = AV_CODEC_ID_MPEG4;
  AVPixelFormat pixels = AV_PIX_FMT_YUV420P;
  int frames = 20, height = 32, width = 48, rate = 10;
  int key_every = 5, b_frames = 0;
};

/// The grey level of frame `number`.
inline int level_of(int number) { return 30 + 8 * number; }

inline void check(int error, const char* what) {
  if (error < 0) throw std::runtime_error(what);
}

/// Bytes of a film whose frame i is grey of level_of(i).
inline std::string write_film(const FilmKind& kind) {
  const TemporaryFolder folder;
  const auto path = (folder / ("film." + kind.ending)).string();
  AVFormatContext* file = nullptr;
  check(avformat_alloc_output_context2(&file, nullptr, nullptr, path.c_str()), "container");
  const AVCodec* encoder = avcodec_find_encoder(kind.codec);
  if (!encoder) throw std::runtime_error("no encoder");
  AVCodecContext* codec = avcodec_alloc_context3(encoder);
  codec->width = kind.width, codec->height = kind.height, codec->pix_fmt = kind.pixels;
  codec->time_base = {1, kind.rate}, codec->framerate = {kind.rate, 1};
  codec->gop_size = kind.key_every, codec->max_b_frames = kind.b_frames;
  codec->flags |= AV_CODEC_FLAG_QSCALE;
  codec->global_quality = FF_QP2LAMBDA * 2;
  if (file->oformat->flags & AVFMT_GLOBALHEADER) codec->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
  check(avcodec_open2(codec, encoder, nullptr), "codec");
  AVStream* stream = avformat_new_stream(file, nullptr);
  avcodec_parameters_from_context(stream->codecpar, codec);
  stream->time_base = codec->time_base, stream->avg_frame_rate = codec->framerate;
  check(avio_open(&file->pb, path.c_str(), AVIO_FLAG_WRITE), "file");
  check(avformat_write_header(file, nullptr), "header");
  AVFrame* frame = av_frame_alloc();
  frame->width = kind.width, frame->height = kind.height, frame->format = kind.pixels;
  check(av_frame_get_buffer(frame, 0), "frame");
  AVPacket* packet = av_packet_alloc();
  const auto drain = [&](AVFrame* in) {
    check(avcodec_send_frame(codec, in), "send");
    while (avcodec_receive_packet(codec, packet) >= 0) {
      if (packet->duration == 0) packet->duration = 1;
      av_packet_rescale_ts(packet, codec->time_base, stream->time_base);
      packet->stream_index = stream->index;
      check(av_interleaved_write_frame(file, packet), "write");
    }
  };
  for (int i = 0; i < kind.frames; ++i) {
    check(av_frame_make_writable(frame), "writable");
    const bool grey = kind.pixels == AV_PIX_FMT_GRAY8, limited = kind.pixels == AV_PIX_FMT_YUV420P;
    const int value = limited ? 16 + level_of(i) * 219 / 255 : level_of(i);
    for (int plane = 0; plane < (grey ? 1 : 3); ++plane) {
      const int rows = plane == 0 ? kind.height : (kind.height + 1) / 2;
      const int columns = plane == 0 ? kind.width : (kind.width + 1) / 2;
      for (int y = 0; y < rows; ++y)
        std::fill_n(frame->data[plane] + y * frame->linesize[plane], columns, plane == 0 ? value : 128);
    }
    frame->pts = i;
    drain(frame);
  }
  drain(nullptr);
  check(av_write_trailer(file), "trailer");
  av_packet_free(&packet), av_frame_free(&frame), avcodec_free_context(&codec);
  avio_closep(&file->pb);
  avformat_free_context(file);
  return slurp(path);
}

}  // namespace lacuna::testing
