#pragma once
// Files of point clouds: KITTI's .bin, nuScenes' .pcd.bin, PLY, NPY, OFF.

#include <string>

#include "lacuna/io/file.h"
#include "lacuna/io/points.h"

namespace lacuna::io {

/// A larger cloud is refused instead of filling the memory.
struct PointLimits {
  int64_t max_points = int64_t{1} << 27;
  int64_t max_fields = 64;
};

/// By the ending of `name`: .pcd.bin (float32 x, y, z, intensity, ring), .bin (x, y, z, intensity), .ply,
/// .npy, .off. NaN coordinates stay as they are. Error naming `name`: unknown ending, broken, cut short,
/// above the limits.
Points read_points(Bytes bytes, const std::string& name, const PointLimits& limits = {});

/// Rows of float32 numbers, little-endian, without a header.
Points read_point_rows(Bytes bytes, const std::string& name, const std::vector<std::string>& fields,
                       const PointLimits& limits = {});
/// PLY (ascii, binary of either order): the scalar properties of element "vertex", coordinates first; "label"
/// or "class" become labels. Other elements are skipped.
Points read_ply(Bytes bytes, const std::string& name, const PointLimits& limits = {});
/// [N, F] of numbers; F >= 3.
Points read_point_npy(Bytes bytes, const std::string& name, const PointLimits& limits = {});
/// Vertices of an Object File Format mesh (OFF, COFF: with r, g, b, a).
Points read_off(Bytes bytes, const std::string& name, const PointLimits& limits = {});

/// Names for the numbers of a point when a file gives none: x, y, z, intensity, time, then f5, f6, ...
std::vector<std::string> unnamed_fields(int64_t count);

}  // namespace lacuna::io
