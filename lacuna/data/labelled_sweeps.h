#pragma once
// Sweeps whose points are labelled by boxes: KITTI's object benchmark, nuScenes' frames as MMDetection3D
// lists them.

#include <memory>

#include "lacuna/data/dataset.h"

namespace lacuna::data {

/// KITTI's official layout below `uri.path`: velodyne/*.bin, with label_2/*.txt, calib/*.txt (and
/// image_2/*.png, which say how far the camera saw) of the same names; or training/ and testing/ with these
/// inside, as splits. Frames without label_2 have no labels. Null when nothing lies so.
std::shared_ptr<Dataset> open_kitti(Uri& uri);
/// Splits of the same.
std::vector<std::string> kitti_splits(const Uri& uri);

/// `uri.path`: a JSON file, or a folder with sample.json, that lists frames as MMDetection3D's info files do:
/// metainfo.categories, data_list of lidar_points.lidar_path and instances (bbox_3d: centre x, y, z, length,
/// width, height, yaw; bbox_label_3d, -1: points without a label). Null when there is no such file.
std::shared_ptr<Dataset> open_listed_sweeps(Uri& uri);

}  // namespace lacuna::data
