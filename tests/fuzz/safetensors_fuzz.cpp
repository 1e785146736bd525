// safetensors files.
#include "checkpoint/safetensors.h"
#include "fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  ttt::expect_error_or_result([&] { ttt::parse_safetensors(input, "fuzz.safetensors"); });
  return 0;
}
