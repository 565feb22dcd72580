#include "lacuna/io/safetensors.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/io/bytes.h"
#include "tests/support/pictures.h"
#include "tests/support/shared.h"

namespace lacuna::io {
namespace {

using lacuna::testing::TemporaryFolder;
using lacuna::testing::write_file;

std::string file_of(const std::string& header, const std::string& data, std::optional<uint64_t> length = {}) {
  std::string out;
  for (int i = 0; i < 8; ++i) out += static_cast<char>(length.value_or(header.size()) >> (8 * i) & 0xff);
  return out + header + data;
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return str("\"", name, "\":{\"dtype\":\"", dtype, "\",\"shape\":", shape, ",\"data_offsets\":", offsets,
             "}");
}

struct Safetensors : ::testing::Test {
  TemporaryFolder folder;
  fs::path path = folder / "t.safetensors";

  std::string error_of(const std::string& bytes) {
    fs::remove(path);
    write_file(path, bytes);
    try {
      load_safetensors(path);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
};

TEST_F(Safetensors, RoundTripOfEveryType) {
  Tensors tensors;
  for (const auto type : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong, at::kInt, at::kShort,
                          at::kChar, at::kByte, at::kBool})
    tensors[str("t", static_cast<int>(type))] = at::arange(6).remainder(2).to(type).view({2, 3});
  tensors["scalar"] = at::scalar_tensor(3.5F);
  tensors["empty"] = at::empty({0, 4});
  tensors["strided"] = at::arange(12).view({3, 4}).t();
  save_safetensors(path, tensors, {{"format", "pt"}});
  const SafetensorsFile file(path);
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(file.infos().size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    const auto read = file.tensor(name);
    EXPECT_EQ(read.scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(at::equal(read, tensor)) << name;
  }
  const std::string once = read_file(path);
  save_safetensors(path, file.tensors(), {{"format", "pt"}});
  EXPECT_EQ(read_file(path), once);
}

TEST_F(Safetensors, BytesAreTheFormats) {
  save_safetensors(path, {{"a", at::tensor({1, 2}, at::kByte)}});
  const std::string header = R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})";
  const std::string padded = header + std::string((8 - header.size() % 8) % 8, ' ');
  EXPECT_EQ(read_file(path), file_of(padded, "\x01\x02"));
}

TEST_F(Safetensors, MissingNameSuggestsTheNearest) {
  save_safetensors(path, {{"blocks.0.weight", at::zeros({1})}});
  try {
    SafetensorsFile(path).tensor("blocks.0.weigth");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("did you mean 'blocks.0.weight'?"));
  }
}

TEST_F(Safetensors, HostileHeadersAreNamed) {
  const std::string f4(4, '\0'), f8(8, '\0');
  const auto a = entry("a", "F32", "[1]", "[0,4]");
  const std::vector<std::tuple<std::string, std::string>> cases{
      {"", "only 0 bytes"},
      {file_of("{}", "", 1000), "past the end"},
      {file_of("{}", "", UINT64_MAX), "above the limit"},
      {file_of("[]", ""), "no JSON object"},
      {file_of("{", ""), "not JSON"},
      {file_of("{\"\xff\xfe\":1}", ""), "not JSON"},
      {file_of("{" + a + "," + a + "}", f4), "stands twice"},
      {file_of("{" + entry("a", "F33", "[1]", "[0,4]") + "}", f4), "unknown dtype"},
      {file_of("{" + entry("a", "F32", "[-1]", "[0,4]") + "}", f4), "no list of sizes"},
      {file_of("{" + entry("a", "F32", "[1.5]", "[0,4]") + "}", f4), "no list of sizes"},
      {file_of("{" + entry("a", "F32", "[4611686018427387904,4]", "[0,0]") + "}", ""), "too large"},
      {file_of("{" + entry("a", "F32", "[0,4611686018427387904,4]", "[0,0]") + "}", ""), "too large"},
      {file_of("{" + entry("a", "F32", "[2]", "[0,4]") + "}", f4), "needs 8 bytes"},
      {file_of("{" + entry("a", "F32", "[1]", "[4,0]") + "}", f4), "outside"},
      {file_of("{" + entry("a", "F32", "[2]", "[0,8]") + "}", f4), "outside"},
      {file_of("{" + a + "," + entry("b", "F32", "[2]", "[0,8]") + "}", f8), "overlaps"},
      {file_of("{" + a + "," + entry("b", "U8", "[2]", "[6,8]") + "}", f8), "hole of 2 bytes"},
      {file_of("{" + a + "}", f8), "belong to no tensor"},
      {file_of("{\"a\":3}", ""), "has no dtype"},
      {file_of("{" + entry("a", "F32", std::string(1000000, '['), "[0,4]"), f4), "nested too deeply"},
      {file_of("{\"__metadata__\":{\"k\":1}}", ""), "is no string"},
      {file_of("{" + entry("a", "BOOL", "[4]", "[0,4]") + "}", "\x01\x02\x01\x01"), "booleans"},
  };
  for (const auto& [bytes, why] : cases) EXPECT_THAT(error_of(bytes), ::testing::HasSubstr(why));
}

TEST_F(Safetensors, MutatedBytesGiveAResultOrAnError) {
  save_safetensors(path, {{"a", at::ones({3, 4})}, {"b", at::ones({5}, at::kByte)}}, {{"k", "v"}});
  const fs::path mutated = folder / "m.safetensors";
  survive_mutations(read_file(path), 2000, [&](const std::string& bytes) {
    fs::remove(mutated);  // rewriting a file in place makes ext4 flush it every time
    write_file(mutated, bytes);
    load_safetensors(mutated);
  });
}

TEST_F(Safetensors, TruncatedAnywhereIsAnError) {
  save_safetensors(path, {{"a", at::ones({3, 4})}});
  const std::string whole = read_file(path);
  for (size_t length = 0; length < whole.size(); ++length)
    EXPECT_NE(error_of(whole.substr(0, length)), "") << length;
}

}  // namespace
}  // namespace lacuna::io
