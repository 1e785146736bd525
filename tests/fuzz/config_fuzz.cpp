// YAML configs. One that is taken says, written out and read again, the same.
#include "config/load.h"
#include "fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ttt::fs::path path = ttt::scratch() / "fuzz.yaml";
  ttt::write_bytes(path, {reinterpret_cast<const char*>(data), size});
  ttt::expect_error_or_result([&] { ttt::load_model_config(path); });
  ttt::RunConfig config;
  bool taken = false;
  ttt::expect_error_or_result([&] {
    config = ttt::load_run_config(path);
    taken = true;
  });
  if (!taken) return 0;
  ttt::write_bytes(path, ttt::to_yaml(config));
  if (!ttt::diff(ttt::load_run_config(path), config).empty()) std::abort();
  return 0;
}
