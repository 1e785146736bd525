#include "tokenizer/text_files.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "base/error.h"
#include "base/files.h"

namespace ttt {
namespace {

// Bytes of the valid character that starts at `at`, or 0.
std::size_t character_size(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const auto continues = [&](std::size_t i) { return at + i < text.size() && (byte(i) & 0xc0) == 0x80; };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return continues(1) ? 2 : 0;
  if (lead >= 0xe0 && lead <= 0xef) {
    if (!continues(1) || !continues(2)) return 0;
    if (lead == 0xe0 && byte(1) < 0xa0) return 0;   // overlong
    if (lead == 0xed && byte(1) >= 0xa0) return 0;  // surrogates
    return 3;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    if (!continues(1) || !continues(2) || !continues(3)) return 0;
    if (lead == 0xf0 && byte(1) < 0x90) return 0;   // overlong
    if (lead == 0xf4 && byte(1) >= 0x90) return 0;  // beyond U+10FFFF
    return 4;
  }
  return 0;
}

}  // namespace

std::vector<std::filesystem::path> list_text_files(const std::vector<std::filesystem::path>& inputs,
                                                   const std::vector<std::string>& extensions) {
  if (inputs.empty()) user_error("no input was given; name a text file or a folder");
  std::vector<fs::path> files;
  for (const fs::path& input : inputs) {
    const bool single = fs::is_regular_file(input);
    for (fs::path& file : list_files(input)) {
      const std::string name = file.filename().string();
      const bool wanted = single || extensions.empty() ||
                          std::any_of(extensions.begin(), extensions.end(),
                                      [&](const std::string& extension) { return name.ends_with(extension); });
      if (wanted) files.push_back(std::move(file));
    }
  }
  if (files.empty()) {
    std::string wanted;
    for (const std::string& extension : extensions) wanted += " " + extension;
    user_error("no files", wanted.empty() ? "" : " ending in" + wanted, " in '", inputs[0].string(), "'",
               inputs.size() > 1 ? " and the other inputs" : "", "; name a folder that holds text",
               wanted.empty() ? "" : " or other endings by --extension");
  }
  return files;
}

std::optional<std::size_t> find_invalid_utf8(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    std::uint64_t word;
    if (at + sizeof word <= text.size()) {  // eight ASCII bytes at once
      std::memcpy(&word, text.data() + at, sizeof word);
      if ((word & 0x8080808080808080ULL) == 0) {
        at += sizeof word;
        continue;
      }
    }
    const std::size_t size = character_size(text, at);
    if (size == 0) return at;
    at += size;
  }
  return std::nullopt;
}

void require_utf8(std::string_view text, const std::filesystem::path& path, std::size_t offset) {
  const std::optional<std::size_t> bad = find_invalid_utf8(text);
  if (!bad) return;
  char hex[8];
  std::snprintf(hex, sizeof hex, "0x%02X", static_cast<unsigned char>(text[*bad]));
  user_error("'", path.string(), "' is not UTF-8 text: byte ", offset + *bad, " is ", hex,
             "; convert the file to UTF-8, or leave it out (--extension picks files of a folder by their ending)");
}

}  // namespace ttt
