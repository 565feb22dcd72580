#pragma once
// What a killed process leaves of write_atomically and write_folder_atomically.

#include "lacuna/io/file.h"

namespace lacuna::io {

/// Removes the unfinished files and folders (".<name>.tmp*") beside `path`.
void remove_leftovers(const fs::path& path);

}  // namespace lacuna::io
