# Doxygen's input filter: the `//` comment behind `#pragma once` becomes the file's `///` comment.
NR == 1 { print; next }
!done && /^\/\// { sub(/^\/\//, started ? "///" : "/// @file\n///"); started = 1; print; next }
{ done = 1; print }
