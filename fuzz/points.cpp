// Files of points: the first byte chooses the kind.

#include "fuzz/fuzz.h"
#include "lacuna/io/point_files.h"

using namespace lacuna;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  static const std::array<std::string, 5> kNames{"a.ply", "a.off", "a.bin", "a.pcd.bin", "a.npy"};
  const auto text = fuzz::text_of(data + 1, size - 1);
  fuzz::expect_answer([&] {
    const auto cloud = io::read_points(std::as_bytes(std::span(text)), kNames[data[0] % kNames.size()]);
    fuzz::expect(cloud.values.size() == static_cast<size_t>(cloud.count()) * cloud.fields.size());
    fuzz::expect(cloud.labels.empty() || static_cast<int64_t>(cloud.labels.size()) == cloud.count());
    fuzz::touch(std::as_bytes(std::span(cloud.values)));
  });
  return 0;
}
