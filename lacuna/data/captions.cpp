#include "lacuna/data/captions.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "lacuna/core/error.h"
#include "lacuna/text/byte_tokenizer.h"

namespace lacuna::data {

namespace {

constexpr int32_t kFilling = -1;
constexpr const char* kPlace = "{}";

at::Tensor rows_of(const std::vector<std::vector<int32_t>>& ids) {
  size_t longest = 1;
  for (const auto& row : ids) longest = std::max(longest, row.size());
  auto out = at::full({std::ssize(ids), static_cast<int64_t>(longest)}, kFilling, at::kLong);
  for (size_t i = 0; i < ids.size(); ++i)
    std::copy(ids[i].begin(), ids[i].end(), out[static_cast<int64_t>(i)].mutable_data_ptr<int64_t>());
  return out;
}

/// What turns a record's texts into a row.
struct Captions {
  std::shared_ptr<const CaptionEncoder> encoder;
  bool random, required;

  std::vector<int32_t> row(const Record& record, Stream stream) const {
    const auto& texts = record.captions;
    if (texts.empty() && required)
      fail(record.key, "has neither a caption nor a class", "give it one, or leave it out");
    if (texts.empty()) return encoder->encode(std::string());
    if (!random || texts.size() == 1) return encoder->encode(texts.front());
    // Not the numbers that the crop is drawn from.
    const auto seed = static_cast<uint64_t>(stream.bits()) << 32 | stream.bits();
    return encoder->encode(texts[static_cast<size_t>(Stream(seed, "caption").below(std::ssize(texts)))]);
  }
};

class ClassCaptions final : public Dataset {
 public:
  ClassCaptions(std::shared_ptr<Dataset> whole, const std::vector<std::string>& templates)
      : whole_(std::move(whole)) {
    for (const auto& name : whole_->classes()) {
      auto& texts = captions_.emplace_back();
      for (const auto& pattern : templates) texts.push_back(fill_template(pattern, spoken_class(name)));
    }
  }
  int64_t size() const override { return whole_->size(); }
  Record get(int64_t index) const override {
    auto record = whole_->get(index);
    if (record.captions.empty() && record.label >= 0 && record.label < std::ssize(captions_))
      record.captions = captions_[static_cast<size_t>(record.label)];
    return record;
  }
  int64_t label(int64_t index) const override { return whole_->label(index); }
  std::vector<std::string> classes() const override { return whole_->classes(); }
  std::string transcript(int64_t index) const override { return whole_->transcript(index); }
  std::string uri() const override { return whole_->uri(); }
  std::string modality() const override { return whole_->modality(); }

 private:
  std::shared_ptr<Dataset> whole_;
  std::vector<std::vector<std::string>> captions_;  // by class
};

class CaptionFilling final : public Filling {
 public:
  CaptionFilling(std::unique_ptr<Filling> picture, const Captions& captions, int64_t rows)
      : picture_(std::move(picture)), captions_(captions), ids_(static_cast<size_t>(rows)) {}

  void fill(int64_t row, const Record& record, Stream random) override {
    ids_[static_cast<size_t>(row)] = captions_.row(record, random);
    picture_->fill(row, record, random);
  }

  Batch finish(const std::vector<int64_t>& rows) override {
    Batch batch = picture_->finish(rows);
    std::vector<std::vector<int32_t>> kept;
    for (const int64_t row : rows) kept.push_back(std::move(ids_[static_cast<size_t>(row)]));
    batch.tokens = rows_of(kept);
    return batch;
  }

 private:
  std::unique_ptr<Filling> picture_;
  const Captions& captions_;
  std::vector<std::vector<int32_t>> ids_;
};

class CaptionTransform final : public Transform {
 public:
  CaptionTransform(std::shared_ptr<const Transform> picture, Captions captions)
      : picture_(std::move(picture)), captions_(std::move(captions)) {}

  std::unique_ptr<Filling> begin(int64_t rows) const override {
    return std::make_unique<CaptionFilling>(picture_->begin(rows), captions_, rows);
  }
  std::shared_ptr<const Transform> evaluating() const override {
    auto captions = captions_;
    captions.random = captions.required = false;
    return std::make_shared<const CaptionTransform>(picture_->evaluating(), std::move(captions));
  }

 private:
  std::shared_ptr<const Transform> picture_;
  Captions captions_;
};

}  // namespace

void CaptionConfig::fields(Fields& f) {
  f("tokenizer", tokenizer,
    "file or folder of the tokenizer (CLIP's list of merges, tokenizer.json, *.model); empty: bytes");
  f("pick", pick, "which of a picture's texts it is shown with; evaluations take the first")
      .choices({"random", "first"});
  f("templates", templates, "texts of labelled pictures without captions; {} stands for the class");
}

std::string spoken_class(const std::string& name) {
  std::string out = name;
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return c == '_' ? ' ' : static_cast<char>(std::tolower(c)); });
  return out;
}

std::string fill_template(const std::string& pattern, const std::string& name) {
  std::string out = pattern;
  auto place = out.find(kPlace);
  if (place == std::string::npos)
    fail(str("template '", pattern, "'"), "has no {} for the class", "write it as \"a photo of a {}.\"");
  for (; place != std::string::npos; place = out.find(kPlace, place + name.size()))
    out.replace(place, 2, name);
  return out;
}

CaptionEncoder::CaptionEncoder(const std::string& tokenizer, int64_t length)
    : tokenizer_(tokenizer.empty() ? text::byte_tokenizer() : text::open_tokenizer(tokenizer)),
      length_(length) {
  if (!tokenizer_->special().end)
    fail(str("caption.tokenizer ", tokenizer), "has no end token, at which a text is read",
         "use a tokenizer with </s> or <|endoftext|>");
}

std::vector<int32_t> CaptionEncoder::encode(const std::string& text) const {
  const auto special = tokenizer_->special();
  const auto ids = tokenizer_->encode(text);
  std::vector<int32_t> out(ids.begin(), ids.end());
  if (special.begin && (out.empty() || out.front() != *special.begin))
    out.insert(out.begin(), *special.begin);
  if (out.empty() || out.back() != *special.end) out.push_back(*special.end);
  if (std::ssize(out) > length_) {
    out.resize(static_cast<size_t>(length_));
    out.back() = *special.end;
  }
  return out;
}

at::Tensor CaptionEncoder::encode(const std::vector<std::string>& texts) const {
  std::vector<std::vector<int32_t>> ids;
  for (const auto& text : texts) ids.push_back(encode(text));
  return rows_of(ids);
}

std::string CaptionEncoder::decode(const at::Tensor& tokens) const {
  const auto flat = tokens.cpu().to(at::kLong).contiguous();
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < flat.numel(); ++i)
    if (const auto id = flat.const_data_ptr<int64_t>()[i]; id >= 0) ids.push_back(static_cast<int32_t>(id));
  return tokenizer_->decode(ids);
}

std::shared_ptr<Dataset> with_class_captions(std::shared_ptr<Dataset> whole,
                                             const std::vector<std::string>& templates) {
  return std::make_shared<ClassCaptions>(std::move(whole), templates);
}

std::shared_ptr<const Transform> with_captions(std::shared_ptr<const Transform> picture,
                                               const CaptionConfig& config,
                                               std::shared_ptr<const CaptionEncoder> encoder) {
  return std::make_shared<const CaptionTransform>(
      std::move(picture), Captions{std::move(encoder), config.pick == "random", /*required=*/true});
}

}  // namespace lacuna::data
