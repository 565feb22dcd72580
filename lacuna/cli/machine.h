#pragma once
// What the program, as opposed to the library, may settle for its whole process.

namespace lacuna::cli {

/// Memory that tensors give back stays with the process: a training step asks for the same sizes again and
/// again, and fetching them from the kernel, zeroed page by page, costs a sixth of a step
/// (docs/performance.md).
void keep_freed_memory();

}  // namespace lacuna::cli
