// The text that tokenizers and data sets are made from: which files, and whether they hold UTF-8.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace ttt {

// The files named by `inputs`, in that order; a folder stands for every file below it, sorted by name, whose name ends
// with one of `extensions` (".h"; empty: all of them). Throws UserError for a path that does not exist and when nothing
// is left.
std::vector<std::filesystem::path> list_text_files(const std::vector<std::filesystem::path>& inputs,
                                                   const std::vector<std::string>& extensions);

// Throws UserError naming `path` and the byte when `text`, which begins at byte `offset` of the file, is not UTF-8.
void require_utf8(std::string_view text, const std::filesystem::path& path, std::size_t offset = 0);

}  // namespace ttt
