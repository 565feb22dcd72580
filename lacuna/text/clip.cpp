#include "lacuna/text/clip.h"

#include <algorithm>

#include "lacuna/core/error.h"
#include "lacuna/text/byte_symbols.h"
#include "lacuna/text/repair.h"
#include "lacuna/text/unicode.h"

namespace lacuna::text {
namespace {

constexpr int32_t kBytes = 256, kFirstMerge = 512;
constexpr size_t kPublishedMerges = 48894;  // of OpenAI's file, which holds more
const char* const kStart = "<|startoftext|>";
const char* const kEnd = "<|endoftext|>";
const char* const kMask = "<|mask|>";

std::string pattern_of(bool mask) {
  return std::string(mask ? R"(<\|mask\|>|)" : "") +
         R"(<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+)";
}

}  // namespace

ClipTokenizer::ClipTokenizer(const std::array<uint8_t, 256>& byte_order, const std::vector<Pair>& merges,
                             const ClipOptions& options)
    : options_(options), split_(pattern_of(options.mask >= 0), "CLIP's pattern", true) {
  for (const char* end : {"", " "})
    for (const auto byte : byte_order) bytes_.push_back(std::string(1, static_cast<char>(byte)) + end);
  for (size_t i = 0; i < byte_order.size(); ++i) symbol_of_byte_[byte_order[i]] = static_cast<int32_t>(i);
  for (const auto& [left, right] : merges) {
    const auto joined = static_cast<int32_t>(bytes_.size());
    if (left < 0 || right < 0 || left >= joined || right >= joined)
      fail("CLIP's merges",
           str("merge ", joined - kFirstMerge, " joins ", left, " and ", right, ", which come later"),
           "take the file as it was published");
    bytes_.push_back(bytes_[static_cast<size_t>(left)] + bytes_[static_cast<size_t>(right)]);
    // GA-DMS puts its mask in the place of the last merge.
    if (joined != options_.mask && joined != options_.start && joined != options_.end)
      merges_.add(left, right, joined);
  }
  size_ = std::max(
      {static_cast<int32_t>(bytes_.size()), options_.start + 1, options_.end + 1, options_.mask + 1});
  if (options_.start < 0 || options_.end < 0)
    fail("CLIP's tokenizer", "has no number for the start or the end of a text", "use 49406 and 49407");
  bytes_.resize(static_cast<size_t>(size_));
  for (const auto& [id, name] :
       {std::pair{options_.start, kStart}, {options_.end, kEnd}, {options_.mask, kMask}})
    if (id >= 0) bytes_[static_cast<size_t>(id)] = name;
  for (int32_t id = 0; id < size_; ++id) ids_.try_emplace(bytes_[static_cast<size_t>(id)], id);
}

std::shared_ptr<const ClipTokenizer> ClipTokenizer::open(const io::fs::path& path,
                                                         const ClipOptions& options) {
  std::string text = io::read_file(path);
  const io::Bytes bytes(reinterpret_cast<const std::byte*>(text.data()), text.size());
  if (io::is_gzip(bytes)) text = io::gunzip(bytes, path.string(), size_t{1} << 28);
  std::unordered_map<std::string, int32_t> ids;  // spelling of a token -> its number
  const auto& order = byte_symbol_order();
  const auto& spelling = byte_spelling();
  for (size_t i = 0; i < order.size(); ++i) {
    std::string symbol;
    append(symbol, spelling[order[i]]);
    ids[symbol] = static_cast<int32_t>(i);
    ids[symbol + "</w>"] = static_cast<int32_t>(kBytes + i);
  }
  std::vector<Pair> merges;
  size_t at = text.find('\n');
  while (at != std::string::npos && at + 1 < text.size() && merges.size() < kPublishedMerges) {
    const size_t end = std::min(text.find('\n', at + 1), text.size());
    std::string line = text.substr(at + 1, end - at - 1);
    at = end;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty()) continue;
    const auto blank = line.find(' ');
    const auto left = ids.find(line.substr(0, blank));
    const auto right = blank == std::string::npos ? ids.end() : ids.find(line.substr(blank + 1));
    if (left == ids.end() || right == ids.end())
      fail(path.string(),
           str("line ", merges.size() + 2, " is no merge of known symbols: '", line.substr(0, 60), "'"),
           "take the file as it was published (bpe_simple_vocab_16e6.txt.gz)");
    merges.push_back({left->second, right->second});
    ids[left->first + right->first] = kFirstMerge + static_cast<int32_t>(merges.size()) - 1;
  }
  auto own = options;
  if (merges.size() < kPublishedMerges) {  // a smaller vocabulary: the special tokens follow its last merge
    own.start = kFirstMerge + static_cast<int32_t>(merges.size());
    own.end = own.start + 1;
  }
  return std::make_shared<ClipTokenizer>(order, merges, own);
}

std::string ClipTokenizer::clean(std::string_view text) const {
  auto out = strip(html_unescape(html_unescape(fix_text(text))));
  out = strip(collapse_spaces(out));
  return options_.lower ? lower(out) : out;
}

std::optional<int32_t> ClipTokenizer::special_id(std::string_view word) const {
  if (word == kStart) return options_.start;
  if (word == kEnd) return options_.end;
  if (word == kMask && options_.mask >= 0) return options_.mask;
  return std::nullopt;
}

Ids ClipTokenizer::encode(std::string_view text, bool framed) const {
  const auto cleaned = clean(text);
  Ids out, word;
  if (framed) out.push_back(options_.start);
  for (const auto& span : split_.find_all(cleaned)) {
    const auto piece = std::string_view(cleaned).substr(span.begin, span.end - span.begin);
    if (const auto id = special_id(piece)) {
      out.push_back(*id);
      continue;
    }
    word.clear();
    for (const char c : piece) word.push_back(symbol_of_byte_[static_cast<uint8_t>(c)]);
    word.back() += kBytes;
    merges_.apply(word);
    out.insert(out.end(), word.begin(), word.end());
  }
  if (framed) out.push_back(options_.end);
  return out;
}

Ids ClipTokenizer::sequence(std::string_view text, int64_t length, bool truncate) const {
  auto out = encode(text);
  const auto size = static_cast<size_t>(length);
  if (length < 2)
    fail("CLIP's tokenizer", str("a text of ", length, " tokens has no room for its start and end"),
         "allow at least 2");
  if (out.size() > size) {
    if (!truncate)
      fail("'" + std::string(text.substr(0, 60)) + "'",
           str("has ", out.size(), " tokens, more than ", length), "shorten it, or let it be cut (truncate)");
    out.resize(size);
    out.back() = options_.end;
  }
  out.resize(size, 0);
  return out;
}

std::string ClipTokenizer::decode(std::span<const int32_t> ids, bool special) const {
  std::string out;
  for (const auto id : ids) {
    const bool is_special =
        id == options_.start || id == options_.end || (options_.mask >= 0 && id == options_.mask);
    if (id < 0 || id >= size_) fail_unknown_id(id, size_);
    if (special || !is_special) out += bytes_[static_cast<size_t>(id)];
  }
  return valid_utf8(out);
}

std::string ClipTokenizer::piece(int32_t id) const {
  return id < 0 || id >= size_ ? "" : valid_utf8(bytes_[static_cast<size_t>(id)]);
}

std::optional<int32_t> ClipTokenizer::id_of(std::string_view piece) const {
  const auto found = ids_.find(std::string(piece));
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

SpecialIds ClipTokenizer::special() const {
  SpecialIds out{.begin = options_.start, .end = options_.end, .pad = 0};
  if (options_.mask >= 0) out.mask = options_.mask;
  return out;
}

std::string ClipTokenizer::kind() const { return str("CLIP's byte-level BPE, ", size_, " tokens"); }

}  // namespace lacuna::text
