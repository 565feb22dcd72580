// audio:DIR: a folder of sound files; audio:FILE.tsv: a manifest as fairseq's wav2vec_manifest.py writes it
// (the root folder in its first line, then PATH and number of samples, with a tab between), and a transcript
// behind another tab where there is one.

#include <fstream>

#include "lacuna/core/error.h"
#include "lacuna/data/audio.h"
#include "lacuna/data/folder.h"
#include "lacuna/data/transcripts.h"

namespace lacuna::data {

namespace fs = io::fs;

namespace {

const FolderKind kSounds{"audio", "audio", "sound file", "wav, flac, mp3, ogg", is_sound_extension};

class Manifest final : public Dataset {
 public:
  Manifest(const fs::path& path, std::string uri, int64_t label_field) : uri_(std::move(uri)) {
    std::ifstream file(path);
    std::string line;
    if (!std::getline(file, line) || line.find('\t') != std::string::npos)
      fail(path.string(), "is no manifest: its first line must be the folder of its files",
           "write it as fairseq's wav2vec_manifest.py does");
    if (line.ends_with('\r')) line.pop_back();
    fs::path root = line;
    if (root.is_relative()) root = path.parent_path() / root;
    while (std::getline(file, line)) {
      if (line.ends_with('\r')) line.pop_back();
      if (line.empty()) continue;
      const auto first = line.find('\t'),
                 second = first == std::string::npos ? first : line.find('\t', first + 1);
      paths_.push_back(root / line.substr(0, first));
      transcripts_.push_back(second == std::string::npos ? "" : line.substr(second + 1));
    }
    if (paths_.empty()) fail(path.string(), "names no file", "add lines of PATH and samples");
    labels_.resize(paths_.size(), kNoLabel);
    if (label_field < 0) return;
    std::vector<std::string> names;
    for (const auto& each : paths_) names.push_back(each.filename().string());
    auto found = labels_of_names(names, label_field);
    labels_ = std::move(found.labels);
    classes_ = std::move(found.classes);
  }

  int64_t size() const override { return std::ssize(paths_); }
  Record get(int64_t index) const override {
    const std::string path = paths_[static_cast<size_t>(index)].string();
    return {path, label(index), io::read_file(path)};
  }
  int64_t label(int64_t index) const override { return labels_[static_cast<size_t>(index)]; }
  std::vector<std::string> classes() const override { return classes_; }
  std::string transcript(int64_t index) const override {
    const auto& own = transcripts_[static_cast<size_t>(index)];
    return own.empty() ? transcript_beside(paths_[static_cast<size_t>(index)]) : own;
  }
  std::string uri() const override { return uri_; }
  std::string modality() const override { return "audio"; }

 private:
  std::string uri_;
  std::vector<fs::path> paths_;
  std::vector<int64_t> labels_;
  std::vector<std::string> classes_, transcripts_;
};

std::shared_ptr<Dataset> open_audio(Uri& uri) {
  const int64_t label_field = take_label_field(uri);
  if (!uri.path.ends_with(".tsv")) return open_folder(uri, kSounds, label_field);
  uri.take("split", "");  // a manifest is one split
  std::string opened = canonical_uri("audio", uri.path, "");
  if (label_field >= 0) opened += str("?label_field=", label_field);
  return std::make_shared<Manifest>(uri.path, opened, label_field);
}

const Register<DatasetScheme> registered{
    "audio",
    {"audio:DIR|FILE.tsv?label_field=N",
     "sound files (WAV, FLAC, MP3, OGG) in class folders or not, or a manifest; label_field: the class is a "
     "field of the name",
     open_audio, [](const Uri& uri) {
       return uri.path.ends_with(".tsv") ? std::vector<std::string>{} : folder_splits(uri);
     }}};

}  // namespace
}  // namespace lacuna::data
