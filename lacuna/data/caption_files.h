#pragma once
// Files that list pictures and their captions.

#include <string>
#include <string_view>
#include <vector>

namespace lacuna::data {

/// A picture's file, as the list names it, and its captions, in the list's order.
struct Captioned {
  std::string image;
  std::vector<std::string> captions;
  std::string split;  ///< "" where the list tells none
};

/// The non-empty lines of a text, blanks at their ends left out.
std::vector<std::string> caption_lines(std::string_view text);

/// Reads COCO's captions_*.json ("images", "annotations"), Karpathy's dataset_*.json ("images" with
/// "sentences"), JSON lines ("image" or "file_name"; "caption", "captions" or "text"), and tables: CSV, TSV
/// or Flickr30k's "|" with a header that names a column for pictures and one for captions, or
/// Flickr8k.token.txt
/// ("name.jpg#0<tab>caption"). Captions of one picture are put together, in order of first mention; pictures
/// without any are left out and counted in `without`. Error: none of these, or broken.
std::vector<Captioned> read_captions(const std::string& content, const std::string& name, int64_t& without);

}  // namespace lacuna::data
