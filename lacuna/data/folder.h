#pragma once
// Data sets that are folders of files, in class folders (torchvision.datasets.ImageFolder's order and labels)
// or without classes.

#include <string>
#include <vector>

#include "lacuna/data/dataset.h"

namespace lacuna::data {

/// Which files belong to such a set.
struct FolderKind {
  std::string scheme;    ///< "imagefolder"
  std::string modality;  ///< "image"
  std::string items;     ///< "pictures"
  std::string endings;   ///< "jpg, png, tif, npy"
  bool (*is_member)(std::string extension);
  bool mapped = false;  ///< files are mapped, not read: only parts of them are looked at
};

/// Opens `uri.path`. `label_field` >= 0: the label is that field of the file's name (LabelsOfNames), whatever
/// its folder. Error: nothing there, an empty class folder.
std::shared_ptr<Dataset> open_folder(Uri& uri, const FolderKind& kind, int64_t label_field = -1);
/// Files of `folder` with this extension (".npz") by the split that their name speaks of.
std::map<std::string, io::fs::path> files_by_split(const io::fs::path& folder, const std::string& extension);
/// train/, val/, test/ below the path; empty when it is not divided.
std::vector<std::string> folder_splits(const Uri& uri);

/// Labels told by file names: field `field` (0 = the first) of the name up to its first dot, split at "_" and
/// "-". "7_jackson_32.flac" has the fields 7, jackson and 32. Classes in alphabetical order.
struct LabelsOfNames {
  std::vector<int64_t> labels;
  std::vector<std::string> classes;
};
/// Error naming the first that has no such field.
LabelsOfNames labels_of_names(const std::vector<std::string>& names, int64_t field);
/// The query key `label_field`, -1 when it is not given.
int64_t take_label_field(Uri& uri);

}  // namespace lacuna::data
