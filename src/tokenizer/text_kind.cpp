#include "tokenizer/text_kind.h"

#include <algorithm>
#include <cctype>

#include "base/error.h"
#include "base/files.h"
#include "tokenizer/json_line.h"
#include "tokenizer/text_stream.h"

namespace ttt {
namespace {

constexpr std::size_t kLook = 1 << 16;          // bytes of text
constexpr std::size_t kMaxLineLook = 16 << 20;  // of a first line that may be a JSON object
constexpr std::string_view kLookBom = "\xef\xbb\xbf";

struct Signature {
  std::string_view bytes, name;
};

// At the beginning of a file.
constexpr Signature kSignatures[] = {
    {"\x1f\x8b", "gzip data; let its name end in .gz"},
    {"\x28\xb5\x2f\xfd", "Zstandard data; let its name end in .zst"},
    {"BZh", "bzip2 data; decompress it, or compress it with gzip or zstd"},
    {"\xfd"
     "7zXZ",
     "xz data; decompress it, or compress it with gzip or zstd"},
    {"\x04\x22\x4d\x18", "LZ4 data; decompress it, or compress it with gzip or zstd"},
    {"PK\x03\x04", "a ZIP archive; unpack it"},
    {"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it"},
    {"Rar!\x1a\x07", "a RAR archive; unpack it"},
    {"PAR1", "a Parquet table; write its text column as JSON Lines"},
    {"ARROW1", "an Arrow table; write its text column as JSON Lines"},
    {"\xff\xff\xff\xff", "an Arrow stream; write its text column as JSON Lines"},
    {"ORC", "an ORC table; write its text column as JSON Lines"},
    {"Obj\x01", "an Avro file; write its text column as JSON Lines"},
    {"SQLite format 3", "an SQLite database; write its text as JSON Lines"},
    {"\x89HDF\r\n", "an HDF5 file; write its text as JSON Lines"},
    {"\x93NUMPY", "a NumPy array; token arrays are read by --tokens"},
    {"%PDF-", "a PDF document; extract its text"},
    {"{\\rtf", "an RTF document; extract its text"},
    {"\x89PNG", "a PNG image; leave it out"},
    {"\xff\xd8\xff", "a JPEG image; leave it out"},
    {"GIF8", "a GIF image; leave it out"},
    {"\x7f"
     "ELF",
     "a program; leave it out"},
    {"version https://git-lfs.github.com/spec/",
     "a pointer to a file in Git LFS, not the file; fetch it with `git lfs pull`"},
    {"\xff\xfe", "UTF-16 text; convert it to UTF-8"},
    {"\xfe\xff", "UTF-16 text; convert it to UTF-8"},
};

// Short signatures are words as well: these count only with a zero or a broken character behind them.
bool may_be_a_word(std::string_view bytes) {
  return bytes.size() <= 4 && std::all_of(bytes.begin(), bytes.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

bool is_binary(std::string_view beginning) {
  return std::any_of(beginning.begin(), beginning.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r' && byte != '\f' && byte != 0x1b && byte != '\b';
  });
}

bool is_one_of(const std::string& ending, std::initializer_list<std::string_view> endings) {
  return std::find(endings.begin(), endings.end(), ending) != endings.end();
}

// Reads on until `text` holds `size` bytes or the file ends; true where it ends.
bool read_to(TextStream& stream, std::string& text, std::size_t size) {
  while (text.size() < size) {
    const std::size_t before = text.size();
    text.resize(size);
    text.resize(before + stream.read(text.data() + before, size - before));
    if (text.size() == before) return true;
  }
  return false;
}

// The first line of `text` that is not blank, without its end; `begin` becomes the place behind it. "" when `text` ends
// before the line does and `ended` is not set.
std::string_view take_line(std::string_view text, std::size_t& begin, bool ended) {
  while (begin < text.size()) {
    const std::size_t end = text.find('\n', begin);
    if (end == text.npos && !ended) return {};
    const std::string_view line = text.substr(begin, end == text.npos ? text.npos : end - begin);
    begin = end == text.npos ? text.size() : end + 1;
    if (line.find_first_not_of(" \t\r") != line.npos) return line;
  }
  return {};
}

}  // namespace

std::string seems_to_be(std::string_view beginning) {
  for (const Signature& signature : kSignatures) {
    if (!beginning.starts_with(signature.bytes)) continue;
    if (!may_be_a_word(signature.bytes) || is_binary(beginning.substr(0, 4096))) return std::string(signature.name);
  }
  if (beginning.size() > 262 && beginning.substr(257, 5) == "ustar") return "a tar archive; unpack it";
  if (const std::size_t zero = beginning.find('\0'); zero != beginning.npos) {
    const std::string_view some = beginning.substr(0, 4096);
    std::size_t zeros[2] = {0, 0};
    for (std::size_t i = 0; i < some.size(); ++i) zeros[i % 2] += some[i] == '\0' ? 1 : 0;
    const bool sixteen = std::max(zeros[0], zeros[1]) > some.size() / 4 && std::min(zeros[0], zeros[1]) == 0;
    if (sixteen) return "UTF-16 text; convert it to UTF-8";
    return cat("binary data (its byte ", zero, " is 0); leave it out, take it as it is by --format plain");
  }
  return "";
}

TextKind text_kind(const fs::path& path, const DocumentFormat& format) {
  if (format.kind != DocumentKind::kAuto) return {format.kind, false};
  const fs::path plain = without_compression(path);
  const std::string ending = lower_case(plain.extension().string());
  const bool lines_by_name =
      is_one_of(ending, {".jsonl", ".ndjson", ".jsonlines"}) || (ending == ".json" && plain != path);
  if (is_one_of(ending, {".csv", ".tsv"})) {
    user_error("'", path.string(),
               "' is a table by its name; write its text column as JSON Lines, leave it out "
               "(--extension picks files of a folder by their ending), or take it as plain text by --format plain");
  }
  TextStream stream(path);
  std::string text;
  bool ended = read_to(stream, text, kLook);
  if (const std::string other = seems_to_be(text); !other.empty()) {
    const std::size_t remedy = other.find("; ");
    user_error("'", path.string(), "' is not text: it seems to be ", other.substr(0, remedy), other.substr(remedy),
               ", or pick files of a folder by their ending (--extension)");
  }
  if (lines_by_name) return {DocumentKind::kJsonLines, false};

  std::size_t begin = text.starts_with(kLookBom) ? kLookBom.size() : 0;
  const std::size_t first = text.find_first_not_of(" \t\r\n", begin);
  const JsonLineParser parser(format.text_field, "");
  if (ending == ".json" && first != text.npos && text[first] == '[' &&
      parser.look_into(std::string_view(text).substr(first)) == JsonLineParser::Look::kDocument) {
    user_error("'", path.string(),
               "' is one JSON array of documents; write them as JSON Lines, an object a line (as "
               "`jq -c '.[]'` does), or take the file as plain text by --format plain");
  }
  if (first == text.npos || text[first] != '{') return {DocumentKind::kPlain, ending == ".json"};
  std::string_view line = take_line(text, begin, ended);
  for (std::size_t size = kLook; line.empty() && !ended && size < kMaxLineLook; line = take_line(text, begin, ended))
    ended = read_to(stream, text, size *= 4);
  const JsonLineParser::Look look = parser.look_at(line);
  if (look == JsonLineParser::Look::kDocument) return {DocumentKind::kJsonLines, true};
  if (look == JsonLineParser::Look::kObject && ending == ".json") {
    if (begin == text.size() && !ended) ended = read_to(stream, text, text.size() + kLook);
    const std::size_t second = text.find_first_not_of(" \t\r\n", begin);
    if (second != text.npos && text[second] == '{') return {DocumentKind::kJsonLines, true};
  }
  return {DocumentKind::kPlain, ending == ".json"};
}

}  // namespace ttt
