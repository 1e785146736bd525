// The safetensors reader against right files, files cut at every length, and headers that lie.
#include "checkpoint/safetensors.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <unistd.h>

#include <cstring>
#include <fstream>
#include <string>

#include "base/error.h"
#include "base/files.h"

namespace ttt {
namespace {

class Safetensors : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = fs::path(::testing::TempDir()) / ("safetensors_" + std::to_string(getpid()));
    fs::create_directories(directory_);
  }
  void TearDown() override { fs::remove_all(directory_); }
  fs::path directory_;
};

std::string file_of(const std::string& header, const std::string& data) {
  std::string bytes(8, '\0');
  const std::uint64_t size = header.size();
  std::memcpy(bytes.data(), &size, 8);
  return bytes + header + data;
}

// The message of the UserError that parsing throws; "" when it throws none.
std::string refusal(const std::string& bytes) {
  try {
    parse_safetensors(bytes, "some.safetensors");
    return "";
  } catch (const UserError& error) {
    return error.what();
  }
}

void expect_refused(const std::string& header, const std::string& data, const std::string& because) {
  const std::string message = refusal(file_of(header, data));
  EXPECT_NE(message.find(because), std::string::npos) << "header " << header << " gave: '" << message << "'";
  EXPECT_NE(message.find("some.safetensors"), std::string::npos) << message;
}

TEST_F(Safetensors, RoundTripOfEveryType) {
  torch::manual_seed(1);
  NamedTensors tensors;
  for (const auto type : {torch::kDouble, torch::kFloat, torch::kHalf, torch::kBFloat16}) {
    tensors.emplace_back(cat("float/", toString(type)), torch::randn({3, 5}).to(type));
  }
  for (const auto type : {torch::kLong, torch::kInt, torch::kShort, torch::kChar, torch::kByte}) {
    tensors.emplace_back(cat("int/", toString(type)), torch::randint(0, 100, {7}).to(type));
  }
  tensors.emplace_back("bool", torch::rand({9}) > 0.5);
  tensors.emplace_back("scalar", torch::tensor(2.5f));
  tensors.emplace_back("empty", torch::empty({0, 4}));
  tensors.emplace_back("transposed", torch::randn({4, 6}).t());
  tensors.emplace_back("with \"quotes\" and \xc3\xa9", torch::randn({1}));
  const fs::path path = directory_ / "all.safetensors";
  write_safetensors(path, tensors, {{"format", "pt"}, {"note", "text"}});

  const SafetensorsFile file = read_safetensors(path);
  ASSERT_EQ(file.tensors.size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    ASSERT_TRUE(file.has(name));
    EXPECT_EQ(file.at(name).scalar_type(), tensor.scalar_type()) << name;
    EXPECT_EQ(file.at(name).sizes(), tensor.sizes()) << name;
    EXPECT_TRUE(torch::equal(file.at(name), tensor)) << name;
  }
  EXPECT_EQ(file.metadata.at("note"), "text");
  std::uint64_t header_bytes = 0;
  const std::string bytes = read_file(path);
  std::memcpy(&header_bytes, bytes.data(), 8);
  EXPECT_EQ((8 + header_bytes) % 64, 0u);
  EXPECT_THROW(file.at("absent"), UserError);
}

// Resident bytes of this process.
std::int64_t resident() {
  const std::string text = read_file("/proc/self/statm");
  return std::stoll(text.substr(text.find(' '))) * sysconf(_SC_PAGESIZE);
}

// Tensors are views of the file, which may be gone from the disk by then; what they took is given back with them.
TEST_F(Safetensors, TensorsOfAFileAreViewsOfIt) {
  constexpr std::int64_t kBytes = std::int64_t{64} << 20;
  const fs::path path = directory_ / "large.safetensors";
  {
    const torch::Tensor values = torch::full({kBytes / 4}, 2.0f);
    write_safetensors(path, {{"a", values}, {"b", torch::ones({3})}});
  }
  torch::ones({1000}).sum();  // loads what sums take
  const std::int64_t before = resident();
  SafetensorsFile file = read_safetensors(path);
  fs::remove(path);
  EXPECT_LT(resident() - before, kBytes / 8);
  EXPECT_EQ(file.at("a").sum().item<float>(), static_cast<float>(kBytes / 2));
  EXPECT_GT(resident() - before, kBytes / 2);
  const torch::Tensor b = file.at("b");
  file.tensors.clear();
  EXPECT_LT(resident() - before, kBytes / 8);
  file = {};
  EXPECT_TRUE(torch::equal(b, torch::ones({3})));
}

// Another program's header may put the data at odd addresses.
TEST_F(Safetensors, DataAtOddAddressesAreRead) {
  const fs::path path = directory_ / "odd.safetensors";
  std::string data(16, '\0');
  const float values[4] = {1, 2, 3, 4};
  std::memcpy(data.data(), values, sizeof values);
  for (int spaces = 0; spaces < 4; ++spaces) {
    const std::string header = R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})" + std::string(spaces, ' ');
    std::ofstream(path, std::ios::binary) << file_of(header, data);
    EXPECT_TRUE(torch::equal(read_safetensors(path).at("a"), torch::tensor({1.0f, 2.0f, 3.0f, 4.0f}))) << spaces;
  }
}

TEST_F(Safetensors, AFileCutAtAnyLengthIsRefused) {
  const fs::path path = directory_ / "cut.safetensors";
  write_safetensors(path, {{"a", torch::randn({3})}, {"b", torch::randn({2, 2})}});
  const std::string whole = read_file(path);
  EXPECT_EQ(refusal(whole), "");
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_NE(refusal(whole.substr(0, length)), "") << "cut to " << length << " of " << whole.size();
  }
  EXPECT_NE(refusal(whole + "x"), "");
}

TEST_F(Safetensors, HeadersThatLieAreRefused) {
  const std::string data(16, '\1');
  const std::string good =
      R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"I64","shape":[],"data_offsets":[8,16]}})";
  EXPECT_EQ(refusal(file_of(good, data)), "");
  expect_refused("[1]", "", "not a JSON object");
  expect_refused("{\"a\":", "", "not a JSON object");
  expect_refused(R"({"a":5})", "", "lacks dtype");
  expect_refused(R"({"a":{"dtype":"F8","shape":[2],"data_offsets":[0,8]}})", data, "unknown type");
  expect_refused(R"({"a":{"dtype":7,"shape":[2],"data_offsets":[0,8]}})", data, "unknown type");
  expect_refused(R"({"a":{"dtype":"F32","shape":"2","data_offsets":[0,8]}})", data, "no list of sizes");
  expect_refused(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", data, "not a whole number");
  expect_refused(R"({"a":{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}})", data, "not a whole number");
  expect_refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}})", data, "two whole numbers");
  expect_refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}})", data, "two whole numbers");
  expect_refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", data, "offsets 8 to 0");
  expect_refused(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", data, "take 12 bytes");
  expect_refused(R"({"a":{"dtype":"F32","shape":[5],"data_offsets":[0,20]}})", data, "which has 16 bytes");
  expect_refused(
      R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})",
      data, "overlaps");
  expect_refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})", data, "gap of 8 bytes");
  expect_refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", data, "belong to none");
  expect_refused(R"({"__metadata__":{"x":1}})", "", "not a text");
  expect_refused(R"({"a":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}})", "\x02", "other than 0 and 1");
}

TEST_F(Safetensors, HugeSizesDoNotOverflow) {
  // 2^32 x 2^32 x 4 bytes wraps around to 0 in 64 bits; a single size above 2^63 would turn negative.
  expect_refused(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", "", "beyond 64 bits");
  expect_refused(R"({"a":{"dtype":"U8","shape":[1099511627776,8388608,0],"data_offsets":[0,0]}})", "",
                 "beyond 64 bits");
  expect_refused(R"({"a":{"dtype":"F32","shape":[9223372036854775809,0],"data_offsets":[0,0]}})", "", "dimension of");
  expect_refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[18446744073709551608,18446744073709551615]}})", "",
                 "offsets");
  std::string bytes(8, '\xff');
  EXPECT_NE(refusal(bytes + "{}").find("more than the format allows"), std::string::npos);
  bytes = file_of("{}", "");
  bytes[1] = '\x01';  // a header of 258 bytes in a file of 10
  EXPECT_NE(refusal(bytes).find("ends inside its header"), std::string::npos);
}

TEST_F(Safetensors, NamesMustBeUnique) {
  const torch::Tensor one = torch::ones({1});
  EXPECT_THROW(write_safetensors(directory_ / "twice", {{"a", one}, {"a", one}}), Error);
  EXPECT_THROW(write_safetensors(directory_ / "reserved", {{"__metadata__", one}}), Error);
  EXPECT_THROW(read_safetensors(directory_ / "absent"), UserError);
}

}  // namespace
}  // namespace ttt
