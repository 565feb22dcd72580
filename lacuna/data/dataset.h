#pragma once
// Data sets: records by number. Every set is random-access, so that sample order is a pure function of
// (seed, epoch, position) and a run resumes in mid-epoch.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "lacuna/core/registry.h"
#include "lacuna/io/audio.h"
#include "lacuna/io/file.h"
#include "lacuna/io/image.h"
#include "lacuna/io/motion.h"
#include "lacuna/io/points.h"
#include "lacuna/io/video.h"

namespace lacuna::data {

inline constexpr int64_t kNoLabel = -1;  ///< the label of a record that has none

/// Labels of a record's frames in one set of labels (a clustering): the first is that of the record's start.
struct FrameLabels {
  std::shared_ptr<const std::vector<int32_t>> values;
  double rate = 0;  ///< labels a second
};

/// One record: an encoded picture, sound or film (a view that lives as long as its Dataset, bytes of its own,
/// or a mapped file), or one already decoded.
struct Record {
  std::string key;  ///< file path, or shard path + "#" + member: names the record in errors
  int64_t label = kNoLabel;
  /// Mapped bytes, own bytes, a mapped file, or decoded.
  std::variant<io::Bytes, std::string, io::MappedFile, io::Image, io::Audio, io::Video, io::Motion,
               io::Points>
      content;
  std::vector<FrameLabels> frame_labels = {};                     ///< by set; empty: none
  std::shared_ptr<const std::vector<int32_t>> tokens = {};        ///< of its text or transcript; null: none
  std::shared_ptr<const std::vector<int32_t>> token_labels = {};  ///< what is to be said at each; null: none
  std::vector<std::string> captions = {};                         ///< texts that describe it
};

/// The encoded bytes of a record; Error when it is one already decoded. Live as long as record and Dataset.
io::Bytes encoded_bytes(const Record& record);
/// The record's picture, decoded as a whole (io::decode_image). Error when it is broken or above the limits.
io::Image decode_record(const Record& record, const io::ImageLimits& limits = {});

/// An open data set. All const members may be called from several threads at once.
class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual int64_t size() const = 0;             ///< number of records
  virtual Record get(int64_t index) const = 0;  ///< 0 <= index < size(); Error when the record can't be read
  virtual int64_t label(int64_t index) const = 0;        ///< without reading the picture; kNoLabel
  virtual std::vector<std::string> classes() const = 0;  ///< names by label; empty without labels
  /// What is said in it, one line, without reading the sound; empty: not known.
  virtual std::string transcript(int64_t /*index*/) const { return ""; }
  virtual std::string uri() const = 0;  ///< as opened, paths absolute
  /// What its records are: image, audio, video, motion, points, text, captioned (pictures with texts).
  virtual std::string modality() const { return "image"; }
  bool labelled() const { return !classes().empty(); }  ///< whether records have labels
};

/// A parsed URI `scheme:path?key=value&key=value` (contracts.md, "Data URIs").
struct Uri {
  std::string scheme, path;
  std::map<std::string, std::string> query;
  std::string text;           ///< as the user wrote it
  std::string default_split;  ///< what `split` is when the user names none; "" = the set's own choice
  std::vector<std::string> known = {};  ///< keys asked for so far
  /// Value of a query key, removed from `query`, or the fallback (for `split`: first `default_split`).
  std::string take(const std::string& key, const std::string& fallback);
  /// The split to open of those there: the one the user names (Error when it is not there), else the default
  /// one
  /// ("test" and "val" stand in for each other), else "train", else the first. "" when the set has no splits.
  std::string take_split(const std::vector<std::string>& there);
};

/// Splits a URI; a bare path is recognised by what lies there: .tar / .tar.gz -> wds, *-ubyte(.gz) -> idx,
/// data_batch_*.bin -> cifar10, a folder of shards -> wds, any other folder -> imagefolder.
Uri parse_uri(const std::string& text);

/// What a URI scheme opens. A factory takes the query keys it knows; any left over is an Error.
struct DatasetScheme {
  static const char* noun() { return "data set scheme"; }
  std::string form;     ///< "wds:PATTERN"
  std::string summary;  ///< one line for `lacuna list datasets`
  std::function<std::shared_ptr<Dataset>(Uri&)> open;
  std::function<std::vector<std::string>(const Uri&)> splits = nullptr;  ///< those there; null: never any
};

/// Opens any data URI. `split` ("train", "val", "test" or "") is used when the URI names none and the set has
/// splits: imagefolder DIR/train, DIR/val; wds *train*, *val*, *test* shards; idx train-*, t10k-*; cifar10
/// data_batch_*, test_batch. Error: unknown scheme, nothing there, no picture found, unknown query key.
std::shared_ptr<Dataset> open_dataset(const std::string& uri, const std::string& split = "");
/// The set's own test split ("test", else "val"), or null when it has none or the URI names another than
/// train.
std::shared_ptr<Dataset> open_test_split(const std::string& uri);

/// The split that a file or folder name speaks of ("val" for valid, validation, dev), or "".
std::string split_of_name(const std::string& name);
/// jpg, jpeg, png, tif, tiff or npy, in any case; `extension` with or without its dot.
bool is_picture_extension(std::string extension);
/// Class names for labels 0 .. count-1 from `folder`/classes.txt, one class a line: "name", "index name" or
/// "index wordnet-id name"; numbers where there is no such file. Error when it has fewer lines than labels.
std::vector<std::string> class_names(const io::fs::path& folder, int64_t count);
/// `uri` as it is reported: absolute path, and the split where there is one.
std::string canonical_uri(const std::string& scheme, const io::fs::path& path, const std::string& split);

/// Records `indices` of another set.
std::shared_ptr<Dataset> subset(std::shared_ptr<Dataset> whole, std::vector<int64_t> indices);
/// Splits by seed into (1 - share, share), class by class where there are labels.
std::pair<std::shared_ptr<Dataset>, std::shared_ptr<Dataset>> hold_out(std::shared_ptr<Dataset> whole,
                                                                       double share, uint64_t seed);

}  // namespace lacuna::data
