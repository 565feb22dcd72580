#pragma once
// One loop over many threads.

#include <cstdint>
#include <functional>

namespace lacuna::data {

/// Calls body(0) .. body(count - 1) from `workers` threads; rethrows what one of them throws.
void parallel(int64_t count, int64_t workers, const std::function<void(int64_t)>& body);

}  // namespace lacuna::data
