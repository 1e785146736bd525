// manifest.json of a data set.
#include "data/manifest.h"
#include "fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ttt::write_bytes(ttt::scratch() / "manifest.json", {reinterpret_cast<const char*>(data), size});
  ttt::expect_error_or_result([&] {
    ttt::is_dataset(ttt::scratch());
    ttt::write_manifest(ttt::scratch(), ttt::read_manifest(ttt::scratch()));
    ttt::read_manifest(ttt::scratch());
  });
  return 0;
}
