#include "lacuna/method/golden_texts.h"

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna {
namespace {

/// Calls body(begin, end) for each item; Error when the offsets don't fit the values.
template <class Body>
void each_item(const GoldenCase& golden, const std::string& values, const std::string& offsets,
               const Body& body) {
  const auto places = golden.input(offsets).to(at::kLong).contiguous();
  const int64_t size = golden.input(values).numel();
  const auto* place = places.const_data_ptr<int64_t>();
  for (int64_t i = 0; i + 1 < places.numel(); ++i) {
    if (place[i] < 0 || place[i] > place[i + 1] || place[i + 1] > size)
      fail(offsets, str("item ", i, " does not lie in '", values, "'"), "record the case again");
    body(place[i], place[i + 1]);
  }
}

template <class List>
void add_lists(io::Tensors& out, const std::vector<List>& lists, const std::string& values,
               const std::string& offsets, at::ScalarType type) {
  std::vector<int64_t> all, places{0};
  for (const auto& list : lists) {
    for (const auto value : list) all.push_back(type == at::kByte ? static_cast<uint8_t>(value) : value);
    places.push_back(static_cast<int64_t>(all.size()));
  }
  out[values] = torch::tensor(all, at::kLong).to(type);
  out[offsets] = torch::tensor(places, at::kLong);
}

}  // namespace

std::vector<std::vector<int64_t>> golden_lists(const GoldenCase& golden, const std::string& values,
                                               const std::string& offsets) {
  const auto all = golden.input(values).to(at::kLong).contiguous();
  std::vector<std::vector<int64_t>> out;
  each_item(golden, values, offsets, [&](int64_t begin, int64_t end) {
    const auto* data = all.const_data_ptr<int64_t>();
    out.emplace_back(data + begin, data + end);
  });
  return out;
}

std::vector<std::string> golden_texts(const GoldenCase& golden, const std::string& bytes,
                                      const std::string& offsets) {
  std::vector<std::string> out;
  for (const auto& list : golden_lists(golden, bytes, offsets)) out.emplace_back(list.begin(), list.end());
  return out;
}

void add_golden_ids(io::Tensors& out, const std::vector<std::vector<int32_t>>& lists,
                    const std::string& values, const std::string& offsets) {
  add_lists(out, lists, values, offsets, at::kInt);
}

void add_golden_texts(io::Tensors& out, const std::vector<std::string>& texts, const std::string& bytes,
                      const std::string& offsets) {
  add_lists(out, texts, bytes, offsets, at::kByte);
}

}  // namespace lacuna
