#pragma once
// How near two classes are by meaning, for answers that change: WordNet (Fellbaum, 1998).

#include <map>
#include <string>
#include <vector>

#include "lacuna/io/file.h"

namespace lacuna::eval {

/// The nouns of WordNet 3.0, whose numbers ImageNet's classes carry ("n01440764").
class WordNet {
 public:
  /// `folder` holds data.noun (Debian: wordnet-base, /usr/share/wordnet). Error when it doesn't.
  explicit WordNet(const io::fs::path& folder);
  /// 1 / (1 + steps of the shortest way over hypernyms), as nltk's path_similarity: 1 for the same class, 0
  /// without a way. Error: a number that is no noun's.
  double path_similarity(const std::string& a, const std::string& b) const;

 private:
  /// Steps up from `synset` to each of its hypernyms, itself at 0.
  std::map<std::string, int64_t> ancestors(const std::string& synset) const;

  io::fs::path file_;
  std::map<std::string, std::vector<std::string>> hypernyms_;  ///< by eight digits
};

/// WordNet numbers of classes: `given`, one for each class, or where that is empty the classes' own names
/// ("n01440764", or with more behind a space). Error where there are none.
std::vector<std::string> synsets_of(const std::vector<std::string>& classes,
                                    const std::vector<std::string>& given);

}  // namespace lacuna::eval
