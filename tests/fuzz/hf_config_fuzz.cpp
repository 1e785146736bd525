// Hugging Face's config.json. One that is taken says, written out and read again, the same.
#include "config/hugging_face.h"
#include "fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const ttt::Json json = ttt::Json::parse(input, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return 0;
  ttt::ModelConfig config;
  bool taken = false;
  ttt::expect_error_or_result([&] {
    config = ttt::model_config_from_hugging_face(json, "config.json");
    taken = true;
  });
  if (!taken) return 0;
  const ttt::Json written = ttt::hugging_face_config(config);
  if (ttt::hugging_face_config(ttt::model_config_from_hugging_face(written, "config.json")) != written) std::abort();
  return 0;
}
