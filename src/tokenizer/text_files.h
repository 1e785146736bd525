// The text that tokenizers and data sets are made from: which files, what they hold, and whether they hold UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/document_reader.h"

namespace ttt {

struct TextFile {
  std::filesystem::path path;
  std::uint64_t size = 0;                    // of the file, compressed or not
  std::int64_t modified = 0;                 // in nanoseconds
  DocumentKind kind = DocumentKind::kPlain;  // never kAuto
};

struct TextInput {
  std::vector<std::filesystem::path> inputs;  // files and folders
  std::vector<std::string> extensions = {};   // only files of folders that end so (".h"); empty: all
  DocumentFormat format = {};
  // Files that the command itself writes, by their canonical path: where they lie below a folder, they are left out.
  std::function<bool(const std::filesystem::path&)> is_output = {};
};

// The files of an input, in the order of `inputs`; a folder stands for every file below it, also behind links, sorted
// by name. A file that is reached twice is taken once. What is left out is said in the log, and how the files are read.
// Throws UserError for a path that does not exist or may not be read, a link that leads nowhere, a file that is no text
// (see text_kind), and when nothing is left.
std::vector<TextFile> list_text_files(const TextInput& input);

// Throws UserError naming `path` and the byte when `text`, which begins at byte `offset` of the file, is not UTF-8.
void require_utf8(std::string_view text, const std::filesystem::path& path, std::size_t offset = 0);

}  // namespace ttt
