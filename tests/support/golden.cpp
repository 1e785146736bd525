#include "support/golden.h"

#include <torch/types.h>
#include <torch/utils.h>
#include <zstd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "base/files.h"

namespace ttt {
namespace {

constexpr std::size_t kWord = 4;

fs::path golden_path(const std::string& name) {
  const char* plain = std::getenv("TTT_GOLDEN_DIR");
  if (plain != nullptr && *plain != '\0') return fs::path(plain) / (name + ".safetensors");
  return fs::path(TTT_SOURCE_DIR) / "tests" / "golden" / (name + ".golden");
}

std::string unpack(const std::string& packed, const fs::path& path) {
  std::uint64_t size = 0;
  if (packed.size() < sizeof(size)) fail(path.string(), ": too short");
  std::memcpy(&size, packed.data(), sizeof(size));
  const std::size_t words = (size + kWord - 1) / kWord;
  std::string planes(words * kWord, '\0');
  const std::size_t got =
      ZSTD_decompress(planes.data(), planes.size(), packed.data() + sizeof(size), packed.size() - sizeof(size));
  if (ZSTD_isError(got)) fail(path.string(), ": ", ZSTD_getErrorName(got));
  if (got != planes.size()) fail(path.string(), ": ", got, " bytes unpacked, ", planes.size(), " expected");
  std::string bytes(planes.size(), '\0');
  for (std::size_t plane = 0; plane < kWord; ++plane)
    for (std::size_t i = 0; i < words; ++i) bytes[i * kWord + plane] = planes[plane * words + i];
  bytes.resize(size);
  return bytes;
}

}  // namespace

SafetensorsFile load_golden(const std::string& name) {
  const fs::path path = golden_path(name);
  if (path.extension() == ".safetensors") return read_safetensors(path);
  return parse_safetensors(unpack(read_file(path), path), path.string());
}

bool has_golden(const std::string& name) {
  return fs::exists(golden_path(name));
}

std::vector<std::string> golden_names(const SafetensorsFile& golden, const std::string& prefix) {
  const std::string sample = "sample/";
  std::vector<std::string> names;
  for (const auto& [stored, tensor] : golden.tensors) {
    const std::string name = stored.starts_with(sample) ? stored.substr(sample.size()) : stored;
    if (name.starts_with(prefix)) names.push_back(name);
  }
  return names;
}

NamedTensors golden_tensors(const SafetensorsFile& golden, const std::string& prefix) {
  NamedTensors tensors;
  for (const auto& [name, tensor] : golden.tensors)
    if (name.starts_with(prefix)) tensors.emplace_back(name, tensor);
  return tensors;
}

double golden_error(const SafetensorsFile& golden, const std::string& name, const at::Tensor& actual) {
  const at::Tensor flat = actual.detach().to(at::kCPU, at::kDouble).flatten();
  at::Tensor expected, got;
  double largest = 0;
  if (golden.has(name)) {
    expected = golden.at(name).to(at::kDouble);
    if (expected.sizes() != actual.sizes() && expected.numel() != actual.numel())
      fail(name, ": golden shape ", expected.sizes(), ", got ", actual.sizes());
    expected = expected.flatten();
    got = flat;
    largest = expected.abs().max().item<double>();
  } else {
    const std::int64_t stride = std::stoll(golden.metadata.at("sample_stride/" + name));
    expected = golden.at("sample/" + name).to(at::kDouble).flatten();
    got = flat.slice(0, 0, std::nullopt, stride);
    if (got.numel() != expected.numel()) fail(name, ": ", expected.numel(), " samples, got ", got.numel());
    largest = std::stod(golden.metadata.at("max_abs/" + name));
  }
  const double difference = (got - expected).abs().max().item<double>();
  if (!(difference == difference)) return std::numeric_limits<double>::infinity();
  return largest > 0 ? difference / largest : difference;
}

::testing::AssertionResult compare(const SafetensorsFile& golden, const std::string& name, const at::Tensor& actual,
                                   double tolerance, double* worst) {
  const double error = golden_error(golden, name, actual);
  if (worst != nullptr) *worst = std::max(*worst, error);
  if (error <= tolerance) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << golden.path << ": " << name << ": relative error " << error << " > "
                                       << tolerance;
}

}  // namespace ttt
