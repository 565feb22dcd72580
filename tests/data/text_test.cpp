// Texts: documents, tokens, rows.

#include "lacuna/data/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/dialogue_files.h"
#include "lacuna/data/inspect.h"
#include "lacuna/data/loader.h"
#include "lacuna/data/synthetic_facts.h"
#include "lacuna/data/tokens.h"
#include "lacuna/io/compressed.h"
#include "tests/support/program.h"
#include "tests/support/shared.h"

namespace lacuna::data {
namespace {

using lacuna::testing::TemporaryFolder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

void write(const io::fs::path& path, const std::string& content) {
  io::make_folder(path.parent_path());
  std::ofstream(path, std::ios::binary) << content;
}

std::string text_of(const Record& record) {
  const auto bytes = encoded_bytes(record);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::vector<std::string> all_texts(const std::string& uri) {
  const auto dataset = open_dataset(uri);
  std::vector<std::string> out;
  for (int64_t i = 0; i < dataset->size(); ++i) out.push_back(text_of(dataset->get(i)));
  return out;
}

/// A Zstandard frame of one raw block: what `zstd` writes for bytes that do not compress.
std::string as_zstd(const std::string& content) {
  const auto size = static_cast<uint32_t>(content.size());
  std::string out("\x28\xB5\x2F\xFD\xA0", 5);  // single segment, content size in four bytes
  out.append(reinterpret_cast<const char*>(&size), 4);
  const uint32_t block = size << 3 | 1;  // last, raw
  return out.append(reinterpret_cast<const char*>(&block), 3) + content;
}

TEST(Text, DocumentsAreFilesParagraphsOrLines) {
  const TemporaryFolder folder;
  const auto file = folder / "a.txt";
  write(file, "one\ntwo\n\n\nthree\n  \nfour");
  EXPECT_THAT(all_texts(file.string()), ElementsAre("one\ntwo\n\n\nthree\n  \nfour"));
  EXPECT_THAT(all_texts("text:" + file.string() + "?documents=blank"),
              ElementsAre("one\ntwo\n", "three\n", "four"));
  EXPECT_THAT(all_texts("text:" + file.string() + "?documents=line"),
              ElementsAre("one", "two", "three", "four"));
  write(folder / "empty.txt", " \n\n");
  EXPECT_TRUE(all_texts((folder / "empty.txt").string()).empty());
  EXPECT_THROW(all_texts("text:" + file.string() + "?documents=words"), Error);
}

TEST(Text, JsonLinesAndCompressedFiles) {
  const TemporaryFolder folder;
  write(folder / "a.jsonl", "{\"text\": \"h\\u00e9\", \"n\": 1}\n\n{\"text\": \"b\"}\n");
  EXPECT_THAT(all_texts((folder / "a.jsonl").string()), ElementsAre("hé", "b"));
  write(folder / "b.txt.zst", as_zstd("zipped"));
  EXPECT_THAT(all_texts((folder / "b.txt.zst").string()), ElementsAre("zipped"));
  write(folder / "c.txt.zst", as_zstd("zipped").substr(0, 12));
  EXPECT_THROW(all_texts((folder / "c.txt.zst").string()), Error);
  try {
    all_texts("text:" + (folder / "a.jsonl").string() + "?field=txt");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("has no text 'txt'; did you mean 'text'"));
  }
}

TEST(Text, FoldersAreDividedByNames) {
  const TemporaryFolder folder;
  write(folder / "train.txt", "a");
  write(folder / "dev.txt", "b");
  write(folder / "test/x.txt", "c");
  write(folder / "README.md", "no text of the set");
  const auto uri = folder.path().string();
  EXPECT_THAT(all_texts(uri), ElementsAre("a"));
  EXPECT_THAT(all_texts("text:" + uri + "?split=val"), ElementsAre("b"));
  const auto test = open_test_split(uri);
  ASSERT_TRUE(test);
  EXPECT_EQ(text_of(test->get(0)), "c");
}

TextConfig bytes() { return {}; }

TEST(Tokens, PackingLosesNothing) {
  const TemporaryFolder folder;
  write(folder / "a.txt", "hello\n\nworld of texts\n\nend");
  const auto dataset = open_dataset("text:" + (folder / "a.txt").string() + "?documents=blank");
  const auto file = tokenize(dataset, bytes(), {});
  EXPECT_EQ(file->size(), 6 + 15 + 3 + 3 * 2);
  EXPECT_EQ(file->about()["documents"], 3);
  const TokensDataset blocks(file, 8, "test");
  std::vector<int32_t> all;
  for (int64_t i = 0; i < blocks.size(); ++i) {
    const auto record = blocks.get(i);
    EXPECT_EQ(record.tokens->size(), i + 1 < blocks.size() ? 8u : 6u);
    all.insert(all.end(), record.tokens->begin(), record.tokens->end());
  }
  EXPECT_EQ(all, file->read(0, file->size()));
  EXPECT_THAT(std::vector<int32_t>(all.begin(), all.begin() + 9),
              ElementsAre(256, 'h', 'e', 'l', 'l', 'o', '\n', 257, 256));
}

TEST(Tokens, WorkersAndPiecesChangeNothing) {
  const TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 300000; ++i) text += "line " + std::to_string(i) + "\n";  // more than two pieces
  write(folder / "a.txt", text);
  const auto dataset = open_dataset((folder / "a.txt").string());
  const auto one = tokenize(dataset, bytes(), {.workers = 1}),
             four = tokenize(dataset, bytes(), {.workers = 4});
  EXPECT_EQ(one->size(), std::ssize(text) + 2);
  EXPECT_EQ(one->read(0, one->size()), four->read(0, four->size()));
}

TEST(Tokens, BrokenFilesAreRefused) {
  const TemporaryFolder folder;
  write(folder / "a.txt", "hello");
  const auto dataset = open_dataset((folder / "a.txt").string());
  std::string whole;
  tokenize(text_source(dataset), bytes(), "test", {},
           [&](io::Bytes piece) { whole.append(reinterpret_cast<const char*>(piece.data()), piece.size()); });
  const auto path = folder / "a.tokens";
  write(path, whole);
  EXPECT_EQ(TokenFile(path).size(), 7);
  EXPECT_TRUE(is_token_file(path));
  EXPECT_EQ(open_dataset("tokens:" + path.string() + "?block=4")->size(), 2);
  for (size_t cut = 0; cut < whole.size(); ++cut) {
    write(path, whole.substr(0, cut));
    EXPECT_THROW(TokenFile{path}, Error) << cut;
  }
  for (size_t at = 8; at < whole.size();
       ++at) {  // any other byte: refused, or other tokens of the same number
    auto changed = whole;
    changed[at] = static_cast<char>(changed[at] ^ 0x5A);
    write(path, changed);
    try {
      const TokenFile file(path);
      EXPECT_LE(file.size(), 64);
    } catch (const Error&) {
    }
  }
}

TEST(Tokens, PackedFilesOfTinyLlamaAreRead) {
  const TemporaryFolder folder;
  std::string packed("LITPKDS\x01\0\0\0\0\0\0\0\x08\x03\0\0\0\0\0\0\0", 24);
  packed += std::string("\x01\0\x00\x7D\x02\0", 6);
  write(folder / "a.bin", packed);
  const TokenFile file(folder / "a.bin");
  EXPECT_THAT(file.read(0, file.size()), ElementsAre(1, 32000, 2));
}

TEST(Dialogues, KnownFormsAreRead) {
  const auto two = read_dialogue(
      R"({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"},
          {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Bye"}, {"role": "assistant", "content": "Ciao"}]})",
      "line");
  ASSERT_EQ(two.size(), 2u);
  EXPECT_EQ(two[0].prompt, "Be brief.\n\nHi");
  EXPECT_EQ(two[1].answer, "Ciao");
  EXPECT_EQ(read_dialogue(R"({"instruction": "Add", "input": "1 2", "output": "3"})", "line")[0].prompt,
            "Add\n\n1 2");
  EXPECT_EQ(read_dialogue(R"({"prompt": "a", "completion": "b"})", "line")[0].answer, "b");
  EXPECT_THROW(read_dialogue(R"({"messages": []})", "line"), Error);
  EXPECT_FALSE(is_dialogue(R"({"text": "a"})"));
}

TEST(Dialogues, RowsFollowTheOfficialRules) {
  const std::vector<Exchange> exchanges = {{{10, 11}, std::vector<int32_t>(60, 20)}, {{12}, {21}}};
  DialogueRules rules{
      .max_length = 40, .min_answer = 51, .ratio = 0.1, .begin_id = 1, .end_id = 2, .mask_id = 9};
  const auto choose = [](int64_t begin, int64_t end, int64_t count) {
    EXPECT_EQ(begin, 3);
    EXPECT_EQ(end, 39);
    std::vector<int64_t> out;
    for (int64_t i = 0; i < count; ++i) out.push_back(begin + 2 * i);
    return out;
  };
  const auto rows = dialogue_rows(exchanges, rules, choose);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].tokens.size(), 40u);
  EXPECT_EQ(rows[0].tokens.back(), 2);
  EXPECT_EQ(rows[0].labels.back(), 20);  // the official quirk
  EXPECT_THAT(rows[1].tokens, ElementsAre(12, 21, 2));
  EXPECT_THAT(rows[1].labels, ElementsAre(-1, 21, 2));
  EXPECT_EQ(std::count(rows[2].tokens.begin(), rows[2].tokens.end(), 9), 3);
  EXPECT_EQ(std::count(rows[2].labels.begin(), rows[2].labels.end(), 20), 3);
  EXPECT_EQ(rows[2].tokens[3], 9);
  EXPECT_EQ(rows[2].labels.back(), -1);
  rules.max_length = 3;  // prompts alone fill the rows of the first exchange
  EXPECT_EQ(dialogue_rows(exchanges, rules, choose).size(), 1u);
}

TEST(Dialogues, BecomeBatches) {
  const TemporaryFolder folder;
  write(folder / "d.jsonl", R"({"prompt": "Say", "completion": ")" + std::string(60, 'x') + "\"}\n" +
                                R"({"prompt": "a", "completion": "b"})" + "\n");
  const auto whole = open_dataset((folder / "d.jsonl").string());
  EXPECT_TRUE(dynamic_cast<const TextDataset&>(*whole).holds_dialogues());
  const auto rows = dialogue_dataset(whole, bytes(), 128, 258, 0);
  ASSERT_EQ(rows->size(), 3);
  Loader loader(rows, TextTransform(bytes(), 129), {.batch_size = 3, .shuffle = false, .drop_last = false});
  const auto batch = loader.next();
  EXPECT_EQ(batch.tokens.sizes(), (std::vector<int64_t>{3, 66}));
  EXPECT_EQ(batch.tokens.eq(258).sum().item<int64_t>(), 6);
  EXPECT_EQ(batch.token_label.ge(0).sum(1)[1].item<int64_t>(), 6);
  EXPECT_EQ(batch.tokens[2][4].item<int64_t>(), 257);
  EXPECT_EQ(batch.tokens[2][5].item<int64_t>(), -1);
}

TEST(Facts, AreDrawnAlikeAndAskedFor) {
  const auto dataset = open_dataset("synthetic:facts?count=20&facts=2&chars=300");
  EXPECT_EQ(dataset->modality(), "text");
  const auto text = text_of(dataset->get(3));
  EXPECT_EQ(text, text_of(open_dataset("synthetic:facts?count=20&facts=2&chars=300")->get(3)));
  EXPECT_LE(text.size(), 300u);
  const auto asked = text.rfind("What is the code of the ");
  ASSERT_NE(asked, std::string::npos);
  const auto key = text.substr(asked + 24, text.find('?', asked) - asked - 24);
  const auto code = text.substr(text.size() - 5, 3);
  EXPECT_NE(text.find("The code of the " + key + " is " + code + "."), std::string::npos);
}

TEST(InspectText, CountsWordsAndWhatIsNoUtf8) {
  const TemporaryFolder folder;
  write(folder / "a.txt", "The cat and the dog\n\nbad \xFF text\n");
  const auto dataset = open_dataset("text:" + (folder / "a.txt").string() + "?documents=blank");
  const auto found = Registry<Inspector>::instance().get("text").inspect(*dataset, 0, 1).json;
  EXPECT_EQ(found["count"], 2);
  EXPECT_EQ(found["words"], 8);
  EXPECT_EQ(found["different_words"], 7);
  EXPECT_EQ(found["invalid_utf8"], 1);
}

TEST(Text, EnglishTextIsRead) {
  LACUNA_NEEDS_SHARED("data/english-text");
  const auto uri = "text:" + (lacuna::testing::shared_folder() / "data/english-text").string() +
                   "?documents=blank&split=val";
  const auto dataset = open_dataset(uri);
  const auto found = Registry<Inspector>::instance().get("text").inspect(*dataset, 0, 1).json;
  EXPECT_EQ(found["count"], 11);
  EXPECT_EQ(found["words"], 98231);
}

}  // namespace
}  // namespace lacuna::data
