#include "tokenizer/text_files.h"

#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "base/files.h"
#include "base/utf8.h"

namespace ttt {
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

void require_utf8(std::string_view text, const std::filesystem::path& path, std::size_t offset) {
  const std::optional<std::size_t> bad = find_invalid_utf8(text);
  if (!bad) return;
  char hex[8];
  std::snprintf(hex, sizeof hex, "0x%02X", static_cast<unsigned char>(text[*bad]));
  user_error("'", path.string(), "' is not UTF-8 text: byte ", offset + *bad, " is ", hex,
             "; convert the file to UTF-8, or leave it out (--extension picks files of a folder by their ending)");
}

}  // namespace ttt
