#pragma once
// Keys of texts.

#include <string>

#include "lacuna/core/config.h"

namespace lacuna::data {

/// Keys `text.*`: how texts become tokens, and tokens records.
struct TextConfig {
  std::string tokenizer = "bytes";  ///< "bytes", or what text::open_tokenizer opens
  bool add_begin = true, add_end = true;
  std::string rows = "auto";  ///< auto | blocks | documents | dialogues
  std::string dialogue_format = "plain";
  double dialogue_ratio = 0.1;
  int64_t dialogue_min_answer = 51;
  int64_t vocab_multiple = 64;
  void fields(Fields& f);
};

}  // namespace lacuna::data
