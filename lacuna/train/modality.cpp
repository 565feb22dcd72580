#include "lacuna/train/modality.h"

#include "lacuna/core/error.h"

namespace lacuna::train {

void check_normalization(const PictureConfig& data, int64_t channels) {
  for (const auto* values : {&data.mean, &data.std})
    if (!values->empty() && static_cast<int64_t>(values->size()) != channels)
      fail(values == &data.mean ? "data.mean" : "data.std",
           str(values->size(), " values for ", channels, " channels"),
           "give one value for each channel, or none");
  if (data.mean.empty() != data.std.empty())
    fail("data.mean and data.std", "only one of them is given", "give both, or none to have them measured");
}

void require_normalization(const PictureConfig& data, int64_t channels, const std::string& origin) {
  const auto needed = static_cast<size_t>(channels);
  if (data.mean.size() != needed || data.std.size() != needed)
    fail(str(origin, ": data.mean and data.std"), str("need ", needed, " numbers each, one for each channel"),
         "give them: --set data.mean=[...] --set data.std=[...]");
}

bool reads(const std::string& wanted, const std::string& given) {
  return wanted == given || (wanted == "captioned" && given == "image");
}

}  // namespace lacuna::train
