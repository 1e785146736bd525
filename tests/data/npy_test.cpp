// .npy arrays: every integer type in and fp32 out, as NumPy writes them.
#include "data/npy.h"

#include <cstring>

#include "data/dataset.h"
#include "data/prepare.h"
#include "data/scratch.h"

namespace ttt {
namespace {

// An array file of the given version, as numpy.save lays it out.
std::string npy(const std::string& descr, const std::string& shape, const std::string& data, int version = 1,
                const char* fortran = "False") {
  std::string header = "{'descr': '" + descr + "', 'fortran_order': " + fortran + ", 'shape': " + shape + ", }";
  const std::size_t prefix = version == 1 ? 10 : 12;
  header.append(63 - (prefix + header.size()) % 64, ' ');
  header += '\n';
  std::string file = "\x93NUMPY";
  file += static_cast<char>(version);
  file += '\0';
  for (std::size_t i = 0; i < prefix - 8; ++i) file += static_cast<char>((header.size() >> (8 * i)) & 0xff);
  return file + header + data;
}

// `values` as integers of `size` bytes.
std::string pack(const std::vector<std::int64_t>& values, std::size_t size, bool big_endian) {
  std::string data;
  for (const std::int64_t value : values) {
    for (std::size_t i = 0; i < size; ++i) {
      data += static_cast<char>((static_cast<std::uint64_t>(value) >> (8 * (big_endian ? size - 1 - i : i))) & 0xff);
    }
  }
  return data;
}

const std::vector<std::int64_t> kValues = {0, 1, 100, 127, 42, 7};

TEST(Npy, EveryIntegerTypeAndByteOrder) {
  const ScratchFolder folder;
  for (const int version : {1, 2, 3}) {
    for (const char* type :
         {"|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", ">u2", ">i2", ">u4", ">i4", ">u8", ">i8"}) {
      const fs::path path = folder.write(
          "x.npy", npy(type, "(6,)", pack(kValues, static_cast<std::size_t>(type[2] - '0'), type[0] == '>'), version));
      const NpyTokens tokens(path);
      ASSERT_EQ(tokens.size(), 6) << type;
      std::vector<std::int64_t> values(6);
      tokens.read(0, 6, values.data());
      EXPECT_EQ(values, kValues) << type << " version " << version;
      tokens.read(3, 2, values.data());
      EXPECT_EQ(values[1], 42) << type;
    }
  }
}

TEST(Npy, SignsAndTwoDimensions) {
  const ScratchFolder folder;
  std::vector<std::int64_t> values(4);
  NpyTokens(folder.write("a.npy", npy("<i2", "(2, 2)", pack({1, -2, 3, -32768}, 2, false)))).read(0, 4, values.data());
  EXPECT_EQ(values, (std::vector<std::int64_t>{1, -2, 3, -32768}));
  NpyTokens(folder.write("b.npy", npy("<u2", "(4,)", pack({1, 65535, 40000, 0}, 2, false)))).read(0, 4, values.data());
  EXPECT_EQ(values, (std::vector<std::int64_t>{1, 65535, 40000, 0}));
}

TEST(Npy, ArraysThatDoNotFitAreNamed) {
  const ScratchFolder folder;
  const auto read = [&](const std::string& content) {
    const fs::path path = folder.write("x.npy", content);
    return user_error_of([&] { NpyTokens tokens(path); });
  };
  const std::string data = pack(kValues, 4, false);
  EXPECT_TRUE(mentions(read("not an array, but text"), {"x.npy", "not a NumPy"}));
  EXPECT_TRUE(mentions(read(""), {"x.npy"}));
  EXPECT_TRUE(mentions(read(npy("<f4", "(6,)", data)), {"x.npy", "<f4", "integer"}));
  EXPECT_TRUE(mentions(read(npy("<i4", "(6,)", data, 9)), {"version 9"}));
  EXPECT_TRUE(mentions(read(npy("<i4", "(7,)", data)), {"28 bytes", "24"}));
  EXPECT_TRUE(mentions(read(npy("<i4", "(5,)", data)), {"20 bytes", "24"}));
  EXPECT_TRUE(mentions(read(npy("<i4", "(1, 2, 3)", data)), {"one or two dimensions"}));
  EXPECT_TRUE(mentions(read(npy("<i4", "()", data)), {"one or two dimensions"}));
  EXPECT_TRUE(mentions(read(npy("<i4", "(2, 3)", data, 1, "True")), {"Fortran"}));
  EXPECT_TRUE(mentions(read(npy("<i4", "(9999999999999, 9999999999)", data)), {"x.npy"}));
  EXPECT_TRUE(mentions(read(npy("<i4", "(6,)", data).substr(0, 40)), {"header"}));
}

TEST(Npy, WritesWhatNumpyReads) {
  const ScratchFolder folder;
  const float values[] = {1.0f, -2.5f, 0.0f, 3e30f, 1e-40f, 7.0f};
  write_npy_f32(folder / "x.npy", values, 2, 3);
  const std::string file = read_file(folder / "x.npy");
  std::string expected = npy("<f4", "(2, 3)", "");
  expected.append(reinterpret_cast<const char*>(values), sizeof values);
  EXPECT_EQ(file, expected);
  EXPECT_EQ((file.size() - sizeof values) % 64, 0u);
}

TEST(Npy, AnUnfinishedWriterLeavesNothing) {
  const ScratchFolder folder;
  const float value = 1;
  {
    NpyWriter writer(folder / "x.npy", 2, 2);
    writer.append(&value, 1);
    EXPECT_THROW(writer.finish(), Error);
  }
  EXPECT_TRUE(list_files(folder.path()).empty());
  NpyWriter writer(folder / "x.npy", 1, 1);
  writer.append(&value, 1);
  EXPECT_THROW(writer.append(&value, 1), Error);
}

TEST(PrepareTokens, KeepsEveryTokenInOrder) {
  const ScratchFolder folder;
  std::vector<std::int64_t> values(5000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::int64_t>(i * i % 211);
  folder.write("stream.npy", npy("<i8", "(5000,)", pack(values, 8, false)));
  prepare_tokens({.input = folder / "stream.npy",
                  .vocab_size = 211,
                  .bos_id = {},
                  .eos_id = {},
                  .tokenizer = {},
                  .output = folder / "set",
                  .shard_tokens = 999});
  const Dataset data(folder / "set");
  EXPECT_EQ(data.num_documents(), 1);
  EXPECT_EQ(data.bos_id(), std::nullopt);
  EXPECT_EQ(data.vocab_size(), 211);
  const std::vector<std::int32_t> tokens = data.tokens(0, data.num_tokens());
  EXPECT_EQ(std::vector<std::int64_t>(tokens.begin(), tokens.end()), values);
  EXPECT_TRUE(data.verify().empty());
}

TEST(PrepareTokens, DocumentsBeginAtBos) {
  const ScratchFolder folder;
  folder.write("stream.npy", npy("|u1", "(2, 4)", pack({9, 1, 2, 1, 1, 3, 4, 1}, 1, false)));
  prepare_tokens({.input = folder / "stream.npy",
                  .vocab_size = 10,
                  .bos_id = 1,
                  .eos_id = 9,
                  .tokenizer = {},
                  .output = folder / "set"});
  const Dataset data(folder / "set");
  EXPECT_EQ(data.num_documents(), 5);  // what stands before the first BOS counts as one
  EXPECT_EQ(data.bos_id(), 1);
  EXPECT_EQ(data.eos_id(), 9);
  EXPECT_EQ(data.tokens(0, 8), (std::vector<std::int32_t>{9, 1, 2, 1, 1, 3, 4, 1}));
}

TEST(PrepareTokens, ValuesOutsideTheVocabularyAreNamed) {
  const ScratchFolder folder;
  const auto prepare = [&](const std::string& array, std::int64_t vocab_size, std::optional<std::int32_t> bos_id = {}) {
    folder.write("stream.npy", array);
    return user_error_of([&] {
      prepare_tokens({.input = folder / "stream.npy",
                      .vocab_size = vocab_size,
                      .bos_id = bos_id,
                      .eos_id = {},
                      .tokenizer = {},
                      .output = folder / "set"});
    });
  };
  const std::string array = npy("<i8", "(3,)", pack({5, 210, 211}, 8, false));
  EXPECT_TRUE(mentions(prepare(array, 211), {"stream.npy", "value 2 is 211", "vocabulary of 211", "--vocab-size"}));
  EXPECT_TRUE(mentions(prepare(npy("<i8", "(2,)", pack({5, -1}, 8, false)), 211), {"value 1 is -1"}));
  EXPECT_TRUE(mentions(prepare(npy("<u8", "(1,)", pack({-1}, 8, false)), 211), {"value 0"}));
  EXPECT_TRUE(mentions(prepare(array, 0), {"--vocab-size"}));
  EXPECT_TRUE(mentions(prepare(array, 300, 300), {"--bos-id 300"}));
  EXPECT_TRUE(mentions(prepare(npy("<i8", "(0,)", ""), 211), {"no tokens"}));
  EXPECT_FALSE(fs::exists(folder / "set/manifest.json"));
}

}  // namespace
}  // namespace ttt
