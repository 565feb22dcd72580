// Writes small good inputs for every target to FOLDER/<target>/, from which the fuzzer starts.

#include <zlib.h>

#include "fuzz/fuzz.h"
#include "lacuna/data/packed.h"
#include "lacuna/io/safetensors.h"
#include "tests/support/encoders.h"
#include "tests/support/pictures.h"

using namespace lacuna;
using namespace std::string_literals;

namespace {

std::string gzip(const std::string& text) {
  const fuzz::MemoryFile file;
  const gzFile stream = gzopen(file.path().c_str(), "wb");
  fuzz::expect(gzwrite(stream, text.data(), static_cast<unsigned>(text.size())) > 0 &&
               gzclose(stream) == Z_OK);
  return io::read_file(file.path());
}

void write_pictures(const std::filesystem::path& folder) {
  const auto grey = testing::noise(9, 11, 1, 1), rgb = testing::noise(20, 18, 3, 2),
             cmyk = testing::noise(16, 9, 4, 3);
  const auto wide = grey.to(at::kInt) * 257;
  const std::string npy_header = "{'descr': '<u2', 'fortran_order': False, 'shape': (3, 2, 2), }\n";
  const std::vector<std::string> pictures{
      io::encode_png(rgb),
      testing::write_png(wide, {.color_type = PNG_COLOR_TYPE_GRAY, .bits = 16, .interlaced = true}),
      testing::write_png(grey.to(at::kInt).remainder(4),
                         {.color_type = PNG_COLOR_TYPE_PALETTE,
                          .bits = 2,
                          .interlaced = true,
                          .palette = {{1, 2, 3}, {4, 5, 6}, {7, 8, 9}, {9, 9, 9}},
                          .alpha = {0, 128}}),
      io::encode_jpeg(rgb, 80),
      testing::write_jpeg(cmyk, {.stored = JCS_YCCK}),
      testing::write_jpeg(
          rgb, {.input = JCS_RGB, .stored = JCS_YCbCr, .adobe_marker = false, .progressive = true}),
      testing::write_tiff(rgb, {.compression = COMPRESSION_LZW, .predictor = 2, .tiled = true}),
      testing::write_tiff(rgb, {.mode = "wb", .compression = COMPRESSION_ADOBE_DEFLATE, .planar = true}),
      testing::write_tiff(
          rgb, {.photometric = PHOTOMETRIC_YCBCR, .compression = COMPRESSION_JPEG, .rows_per_strip = 8}),
      testing::write_tiff(rgb.to(at::kFloat), {.mode = "wl8", .compression = COMPRESSION_PACKBITS}),
      "\x93NUMPY\x01\x00"s + static_cast<char>(npy_header.size()) + '\0' + npy_header + std::string(24, 'a')};
  for (size_t i = 0; i < pictures.size(); ++i) testing::write_file(folder / str(i), pictures[i]);
}

}  // namespace

int main(int argc, char** argv) {
  fuzz::expect(argc == 2);
  const std::filesystem::path out = argv[1];
  write_pictures(out / "image");

  std::filesystem::create_directories(out / "safetensors");
  io::save_safetensors(out / "safetensors" / "0", {{"a", at::ones({3, 4})}, {"b", at::ones({5}, at::kByte)}},
                       {{"k", "v"}});

  const std::string shard = testing::tar_member("d/a.cls", "1\n") + testing::tar_member("d/a.png", "x") +
                            testing::tar_member("b.json", R"({"label": 0})") +
                            testing::tar_member("b.npy", "y") + testing::tar_end();
  testing::write_file(out / "tar" / "0", shard);
  testing::write_file(out / "tar" / "1", gzip(shard));

  const std::string labels = "\0\0\x08\1\0\0\0\2\3\1"s,
                    images = "\0\0\x08\3\0\0\0\2\0\0\0\2\0\0\0\3abcdefghijkl"s;
  testing::write_file(out / "idx" / "0", "\0\x0a"s + labels + images);
  testing::write_file(out / "idx" / "1", "\0\0"s + gzip(images));

  testing::write_file(out / "cifar10" / "0", std::string(2 * 3073, '\3'));

  const testing::TemporaryFolder pictures;
  testing::write_file(pictures / "train/a/0.png", testing::png(3, 4, 3, 1));
  testing::write_file(pictures / "val/a/1.png", testing::png(2, 2, 1, 2));
  std::filesystem::create_directories(out / "packed");
  std::filesystem::remove(out / "packed" / "0");
  data::pack(pictures.path().string(), out / "packed" / "0", {});

  testing::write_file(out / "toml" / "0",
                      "[part]\nflag = true\nratio = 0.5\nscale = [1e-3, inf]\nwords = ['x', \"\\u00e9\"]\n"
                      "size = [64, 128]\nword = '''a\nb'''\ncounts = [0x1f, 1_000]\n");
  testing::write_file(out / "toml" / "1", "part.size=[64, 128]");
  testing::write_file(out / "toml" / "2", "[\"a\", \"b\"]");
  testing::write_file(out / "toml" / "3", "64x96");
  // The first byte chooses the kind of file, as fuzz/points.cpp has it.
  const std::string vertex =
      "element vertex 2\nproperty float x\nproperty float y\nproperty float z\nend_header\n";
  testing::write_file(out / "points" / "0", "\0"s + "ply\nformat ascii 1.0\n" + vertex + "1 2 3\n4 nan 6\n");
  testing::write_file(out / "points" / "1",
                      "\0"s + "ply\nformat binary_big_endian 1.0\n" + vertex + std::string(24, '\1'));
  testing::write_file(out / "points" / "2", "\1OFF\n# a triangle\n3 1 3\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n");
  testing::write_file(out / "points" / "3", "\2" + std::string(32, '\2'));
  testing::write_file(out / "points" / "4", "\3" + std::string(40, '\2'));
  testing::write_file(out / "points" / "5",
                      "\4\x93NUMPY\1\0\x46\0{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }"s +
                          std::string(10, ' ') + "\n" + std::string(12, '\3'));

  const std::string model =
      "\"model\":{\"type\":\"BPE\",\"unk_token\":\"u\",\"vocab\":{\"u\":0,\"a\":1,\"t\":2,\"at\":3},"
      "\"merges\":[\"a t\"]}";
  testing::write_file(out / "tokenizer" / "0", "{" + model + "}");
  testing::write_file(
      out / "tokenizer" / "1",
      "{\"added_tokens\":[{\"id\":4,\"content\":\"<s>\",\"special\":true,\"lstrip\":true}],"
      "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKC\"},{\"type\":\"Lowercase\"}]},"
      "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\s+|[a-c]\"},\"behavior\":"
      "\"MergedWithNext\"}," +
          model + "}");
}
