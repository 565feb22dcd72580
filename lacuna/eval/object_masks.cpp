#include "lacuna/eval/object_masks.h"

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna::eval {

at::Tensor ObjectMasks::of(const std::vector<std::string>& keys) const {
  std::vector<at::Tensor> out;
  for (const auto& key : keys) {
    auto file = folder_ / key;
    file.replace_extension(".png");
    if (!io::fs::exists(file))
      fail(file.string(), "is not there",
           "give each picture its mask, named as the picture: explain.objects");
    const auto mask = io::decode_image(io::MappedFile(file).bytes(), file.string());
    const auto object = mask.pixels.ne(0).any(2).to(torch::kFloat).unsqueeze(0).unsqueeze(0);  // [1, 1, H, W]
    const bool whole = augment_.crop == "resize";
    const Size2 stored{mask.height(), mask.width()};
    const auto center = data::resize_center_crop(stored, size_, augment_.crop_share);
    const Size2 resized = whole ? size_ : center.resized;
    const auto nearest = at::upsample_nearest2d(object, {resized.h, resized.w});
    out.push_back(whole ? nearest
                        : nearest.slice(2, center.crop.top, center.crop.top + size_.h)
                              .slice(3, center.crop.left, center.crop.left + size_.w));
  }
  return torch::cat(out);
}

}  // namespace lacuna::eval
