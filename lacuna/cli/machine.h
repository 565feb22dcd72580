#pragma once
// What the program, as opposed to the library, may settle for its whole process.

namespace lacuna::cli {

/// Memory that tensors give back stays with the process: a training step asks for the same sizes again and
/// again, and fetching them from the kernel, zeroed page by page, costs a sixth of a step
/// (docs/performance.md).
void keep_freed_memory();

/// Writing to a connection or pipe whose other end is gone gives an error, where the default is to end the
/// process at once: a peer that died would take this process with it before it could say so and save its
/// work.
void survive_broken_pipes();

/// Error when something printed to stdout did not get there (a full disk). A reader that left early, as
/// `head` does, is no error.
void require_stdout_written();

}  // namespace lacuna::cli
