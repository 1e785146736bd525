// The documents of a text file, front to back, in parts, so that a document may be larger than memory.
//
//     *.jsonl *.ndjson      JSON Lines: every line an object, its text in one field; also *.json.zst, *.json.gz
//     anything else         plain UTF-8 text: one document, or parted by lines that hold exactly a separator
//     .zst .gz behind it    either of them, compressed
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace ttt {

struct DocumentFormat {
  std::string separator = {};       // of plain text; empty: a file is one document
  std::string text_field = "text";  // of JSON Lines; "meta.text" is a field within a field
  std::string domain_field = {};    // of JSON Lines; empty: documents have no domain
};

// The file is read as JSON Lines.
bool is_json_lines(const std::filesystem::path& path);

// Where a document begins; reading may begin there again.
struct DocumentPlace {
  std::uint64_t offset = 0;  // in the decompressed text
  std::int64_t line = 1;     // of JSON Lines
};

struct DocumentPart {
  std::string_view text;    // until the next call; may begin or end inside a character
  std::string_view domain;  // likewise
  bool first = false;       // the document begins here
  bool last = false;        // the document ends here
  DocumentPlace place;      // of the document
};

class DocumentReader {
 public:
  // Throws UserError when the file cannot be opened.
  DocumentReader(const std::filesystem::path& path, const DocumentFormat& format, const DocumentPlace& from = {});
  ~DocumentReader();

  // The next part; false at the end. Documents without a byte are passed over. Throws UserError naming the file and the
  // byte or line: text that is not UTF-8, a line that is not JSON, a field that is missing (naming those that are
  // there) or holds no text, compressed data that is damaged or ends early.
  bool next(DocumentPart& part);
  // Bytes of the file (compressed ones) that were read so far.
  std::uint64_t file_position() const;

  struct Impl;  // one for each kind of file

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace ttt
