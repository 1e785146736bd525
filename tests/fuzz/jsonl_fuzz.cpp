// JSON Lines and plain text, compressed or not (the first byte says which, and whether the file is looked at first):
// every document read.
#include "fuzz/fuzz.h"
#include "tokenizer/document_reader.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  constexpr const char* kNames[] = {"fuzz.jsonl", "fuzz.txt", "fuzz.jsonl.zst", "fuzz.jsonl.gz"};
  const ttt::fs::path path = ttt::scratch() / kNames[data[0] % 4];
  ttt::write_bytes(path, {reinterpret_cast<const char*>(data + 1), size - 1});
  ttt::DocumentFormat format;
  if ((data[0] & 4) != 0) format.domain_field = "meta.domain";
  if ((data[0] & 16) != 0) format.kind = data[0] % 4 == 1 ? ttt::DocumentKind::kPlain : ttt::DocumentKind::kJsonLines;
  if ((data[0] & 8) != 0) format.separator = "---";
  ttt::expect_error_or_result([&] {
    ttt::DocumentReader reader(path, format);
    ttt::DocumentPart part;
    std::size_t bytes = 0;
    while (bytes < (std::size_t{64} << 20) && reader.next(part)) bytes += part.text.size() + part.domain.size();
  });
  return 0;
}
