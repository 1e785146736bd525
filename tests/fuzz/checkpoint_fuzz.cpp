// A checkpoint folder: manifest, model and config are any bytes. The first byte says what is made right before reading:
// the checksum of the manifest in COMPLETE, and the sizes and checksums of the files in the manifest, so that what lies
// behind these checks is reached too.
#include "checkpoint/checkpoint.h"

#include "base/hash.h"
#include "fuzz/fuzz.h"

namespace {

constexpr int kSeal = 1, kRightHashes = 2;

std::string with_right_hashes(const std::string& text, const ttt::fs::path& folder) {
  ttt::Json json = ttt::Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("files") || !json["files"].is_object()) return text;
  for (auto& [name, entry] : json["files"].items()) {
    const ttt::fs::path path = folder / name;
    if ((name != "model.safetensors" && name != "config.json") || !entry.is_object()) continue;
    entry["bytes"] = ttt::fs::file_size(path);
    entry["xxh3"] = ttt::hex64(ttt::xxh3_file(path));
  }
  return json.dump(-1, ' ', false, ttt::Json::error_handler_t::replace);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const int flags = data[0];
  std::string_view input(reinterpret_cast<const char*>(data + 1), size - 1);
  const ttt::fs::path& folder = ttt::scratch();
  std::string manifest(ttt::take_part(input));
  ttt::write_bytes(folder / "model.safetensors", ttt::take_part(input));
  ttt::write_bytes(folder / "config.json", input);
  if ((flags & kRightHashes) != 0) manifest = with_right_hashes(manifest, folder);
  ttt::write_bytes(folder / "manifest.json", manifest);
  ttt::write_bytes(folder / "COMPLETE", (flags & kSeal) != 0 ? ttt::hex64(ttt::xxh3(manifest)) + "\n" : "");
  ttt::verify_checkpoint(folder);
  ttt::expect_error_or_result([&] { ttt::read_checkpoint(folder, ttt::CheckpointParts::kAll); });
  return 0;
}
