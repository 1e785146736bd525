// A data set whose manifest, tokens and document offsets are any bytes: opened, verified, and its samples read.
#include "data/dataset.h"
#include "fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  const ttt::fs::path& folder = ttt::scratch();
  ttt::write_bytes(folder / "manifest.json", ttt::take_part(input));
  ttt::write_bytes(folder / "tokens-00000.bin", ttt::take_part(input));
  ttt::write_bytes(folder / "documents-00000.bin", input);
  ttt::expect_error_or_result([&] {
    const ttt::Dataset set(folder);
    set.fingerprint();
    set.verify();
    constexpr std::int64_t kContext = 7;
    if (set.num_tokens() > 100'000) return;
    for (std::int64_t i = 0; i < set.num_samples(kContext); ++i) set.batch({i}, kContext);
    set.tokens(0, set.num_tokens());
  });
  return 0;
}
