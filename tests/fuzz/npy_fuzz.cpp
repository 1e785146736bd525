// .npy token arrays, every value read.
#include <algorithm>
#include <vector>

#include "data/npy.h"
#include "fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ttt::fs::path path = ttt::scratch() / "fuzz.npy";
  ttt::write_bytes(path, {reinterpret_cast<const char*>(data), size});
  ttt::expect_error_or_result([&] {
    const ttt::NpyTokens tokens(path);
    std::vector<std::int64_t> values(1000);
    for (std::int64_t begin = 0; begin < tokens.size(); begin += 1000)
      tokens.read(begin, std::min<std::int64_t>(1000, tokens.size() - begin), values.data());
  });
  return 0;
}
