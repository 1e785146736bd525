// The documents of a text file, front to back, in parts, so that a document may be larger than memory.
//
//     JSON Lines            every line an object, its text in one field
//     plain UTF-8 text      one document, or parted by lines that hold exactly a separator
//     .zst .gz behind it    either of them, compressed
//
// text_kind.h says which files are JSON Lines. A byte order mark at a file's beginning is no part of its text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace ttt {

enum class DocumentKind { kAuto, kPlain, kJsonLines };

struct DocumentFormat {
  DocumentKind kind = DocumentKind::kAuto;   // kAuto: by the file (see text_kind)
  std::string separator = {};                // of plain text; empty: a file is one document
  std::string text_field = "text";           // of JSON Lines; "meta.text" is a field within a field
  std::string domain_field = {};             // of JSON Lines; empty: documents have no domain
  const char* text_option = "--text-field";  // what the command calls these two, for errors
  const char* domain_option = "--domain-field";
};

// Throws UserError for a separator that no line can hold.
void check_separator(const std::string& separator);

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

// What a reader met before a document.
struct DocumentCounts {
  std::int64_t empty = 0;     // documents without text, passed over
  std::int64_t replaced = 0;  // documents with half of a surrogate pair, for which U+FFFD stands
  bool separated = false;     // a line parted documents
};

class DocumentReader {
 public:
  // Throws UserError when the file cannot be opened, or is no text.
  DocumentReader(const std::filesystem::path& path, const DocumentFormat& format, const DocumentPlace& from = {});
  ~DocumentReader();

  // The next part; false at the end. Documents without a byte are passed over. Throws UserError naming the file and the
  // byte or line: text that is not UTF-8, a line that is not JSON, a field that is missing (naming those that are
  // there) or holds no text, compressed data that is damaged or ends early.
  bool next(DocumentPart& part);
  // Bytes of the file (compressed ones) that were read so far.
  std::uint64_t file_position() const;
  // Up to the document of the last part, which does not count; at the end, of everything.
  const DocumentCounts& counts() const { return counts_; }

  struct Impl;  // one for each kind of file

 private:
  std::unique_ptr<Impl> impl_;
  DocumentCounts counts_;
};

}  // namespace ttt
