#include "tokenizer/document_reader.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/files.h"
#include "base/utf8.h"
#include "tokenizer/json_line.h"
#include "tokenizer/text_files.h"
#include "tokenizer/text_kind.h"
#include "tokenizer/text_stream.h"

namespace ttt {
namespace {

constexpr std::size_t kTextBlock = 1 << 20;      // of text, read at once
constexpr std::size_t kMaxJsonLine = 128 << 20;  // of JSON Lines: it is held in memory whole
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

}  // namespace

// A window of the decompressed text, [consumed_, size_) of buffer_ not yet handed out.
struct DocumentReader::Impl {
  Impl(const fs::path& p, const DocumentFormat& f, const DocumentPlace& from) : path(p), format(f), stream(p) {
    stream.skip(from.offset);
    window_offset_ = from.offset;
  }
  virtual ~Impl() = default;
  virtual bool next(DocumentPart& part) = 0;
  virtual DocumentCounts counts() const { return counts_; }

  fs::path path;
  DocumentFormat format;
  TextStream stream;

 protected:
  std::string_view window() const { return {buffer_.data() + consumed_, size_ - consumed_}; }
  std::uint64_t offset() const { return window_offset_ + consumed_; }  // of the window in the text
  bool at_end() const { return at_end_; }
  DocumentCounts counts_;
  void consume(std::size_t bytes) { consumed_ += bytes; }

  // Another block behind the window. Views into the window end here.
  void read_block() {
    buffer_.erase(0, consumed_);
    window_offset_ += consumed_;
    size_ -= consumed_;
    consumed_ = 0;
    buffer_.resize(std::max(buffer_.size(), size_ + kTextBlock));
    const std::size_t count = stream.read(buffer_.data() + size_, kTextBlock);
    size_ += count;
    at_end_ = count == 0;
  }

 private:
  std::string buffer_;
  std::size_t consumed_ = 0, size_ = 0;
  std::uint64_t window_offset_ = 0;
  bool at_end_ = false;
};

namespace {

class PlainText : public DocumentReader::Impl {
 public:
  PlainText(const fs::path& p, const DocumentFormat& f, const DocumentPlace& from) : Impl(p, f, from) {
    place_.offset = from.offset;
  }

  bool next(DocumentPart& part) override {
    while (true) {
      const std::string_view text = window().substr(0, valid_);
      const Separator separator = find_separator(text);
      if (separator.found) {
        const bool document = open_ || separator.begin > 0;
        if (document) fill(part, text.substr(0, separator.begin), /*last=*/true);
        pass(separator.end);
        open_ = false;
        place_.offset = offset();
        if (!document && counts_.separated) ++counts_.empty;  // a first line is no end of a document
        counts_.separated = true;
        if (document) return true;
        continue;
      }
      if (separator.begin > 0) {
        fill(part, text.substr(0, separator.begin), /*last=*/false);
        pass(separator.begin);
        return true;
      }
      if (finished_) {
        if (!open_) return false;
        fill(part, {}, /*last=*/true);
        open_ = false;
        return true;
      }
      read_more();
    }
  }

 private:
  // Where the next separator line is, or up to where the text certainly holds none.
  struct Separator {
    std::size_t begin, end;
    bool found;
  };
  Separator find_separator(std::string_view text) const {
    if (format.separator.empty()) return {text.size(), text.size(), false};
    const std::string& line = format.separator;
    for (std::size_t at = text.find(line); at != text.npos; at = text.find(line, at + 1)) {
      const char before = at == 0 ? before_ : text[at - 1];
      if (before != '\n') continue;
      std::string_view rest = text.substr(at + line.size());
      const std::size_t end_of_line = rest.starts_with("\r\n") ? 2 : rest.starts_with("\n") ? 1 : 0;
      if (end_of_line > 0) return {at, at + line.size() + end_of_line, true};
      if (finished_ && (rest.empty() || rest == "\r")) return {at, text.size(), true};
      if (!finished_ && rest.size() < 2) return {at, at, false};  // the line may go on
    }
    const std::size_t open_end = finished_ ? 0 : line.size() + 1;
    const std::size_t begin = text.size() - std::min(text.size(), open_end);
    return {begin, begin, false};
  }

  void fill(DocumentPart& part, std::string_view text, bool last) {
    part = {.text = text, .domain = {}, .first = !open_, .last = last, .place = place_};
    open_ = true;
  }

  void pass(std::size_t bytes) {
    if (bytes == 0) return;
    before_ = window()[bytes - 1];
    consume(bytes);
    valid_ -= bytes;
  }

  // A block more, checked; a character that the block cuts waits for the next one.
  void read_more() {
    const bool beginning = offset() == 0 && window().empty() && !finished_;
    read_block();
    while (beginning && window().size() < kByteOrderMark.size() && !at_end()) read_block();
    if (beginning && window().starts_with(kByteOrderMark)) {
      consume(kByteOrderMark.size());
      place_.offset = offset();
    }
    const std::string_view fresh = window().substr(valid_);
    const std::size_t good = find_invalid_utf8(fresh).value_or(fresh.size());
    if (fresh.size() - good >= 4 || (at_end() && good < fresh.size())) {
      require_utf8(fresh, path, offset() + valid_);
    }
    valid_ += good;
    finished_ = at_end();
  }

  DocumentPlace place_;
  std::size_t valid_ = 0;  // bytes of the window that are whole characters
  char before_ = '\n';     // the byte before the window
  bool open_ = false, finished_ = false;
};

class JsonLines : public DocumentReader::Impl {
 public:
  JsonLines(const fs::path& p, const DocumentFormat& f, const DocumentPlace& from)
      : Impl(p, f, from), parser_(f.text_field, f.domain_field, f.text_option, f.domain_option), line_(from.line) {}

  bool next(DocumentPart& part) override {
    while (true) {
      consume(parsed_);
      parsed_ = 0;
      const std::optional<std::size_t> size = find_line();
      if (!size) return false;
      const DocumentPlace place{offset(), line_};
      std::string_view line = window().substr(0, *size);
      parsed_ = std::min(*size + 1, window().size());
      ++line_;
      if (place.offset == 0 && line.starts_with(kByteOrderMark)) line.remove_prefix(kByteOrderMark.size());
      if (line.find_first_not_of(" \t\r") == line.npos) continue;
      const JsonLineParser::Fields fields = parser_.parse(line, cat("'", path.string(), "' line ", place.line));
      if (fields.text.empty()) {
        ++counts_.empty;
        continue;
      }
      part = {.text = fields.text, .domain = fields.domain, .first = true, .last = true, .place = place};
      return true;
    }
  }

  DocumentCounts counts() const override {
    DocumentCounts all = counts_;
    all.replaced = parser_.replaced();
    return all;
  }

 private:
  // The size of the line at the window's beginning, without its end; nothing at the end of the text.
  std::optional<std::size_t> find_line() {
    std::size_t searched = 0;
    while (true) {
      const std::size_t end = window().find('\n', searched);
      if (end != std::string_view::npos) return end;
      if (at_end()) return window().empty() ? std::nullopt : std::optional(window().size());
      searched = window().size();
      if (searched > kMaxJsonLine) {
        user_error("'", path.string(), "' line ", line_, " is longer than ", kMaxJsonLine >> 20,
                   " MiB; JSON Lines have one document a line");
      }
      read_block();
    }
  }

  JsonLineParser parser_;
  std::int64_t line_;
  std::size_t parsed_ = 0;  // bytes of the window that the last part lay in
};

}  // namespace

void check_separator(const std::string& separator) {
  if (separator.find_first_of("\r\n") != separator.npos) {
    user_error("--separator holds a line end, which no line holds; give the line's text alone, as '<|endoftext|>'");
  }
  if (find_invalid_utf8(separator)) {
    user_error("--separator is not UTF-8 text, and so no line of the input can hold it; give it as UTF-8");
  }
}

DocumentReader::DocumentReader(const fs::path& path, const DocumentFormat& format, const DocumentPlace& from) {
  if (text_kind(path, format).kind == DocumentKind::kJsonLines) {
    impl_ = std::make_unique<JsonLines>(path, format, from);
  } else {
    impl_ = std::make_unique<PlainText>(path, format, from);
  }
}
DocumentReader::~DocumentReader() = default;

bool DocumentReader::next(DocumentPart& part) {
  const std::int64_t replaced = impl_->counts().replaced;
  const bool more = impl_->next(part);
  const DocumentCounts after = impl_->counts();
  if (!more || part.first) counts_ = after;
  if (more && part.first) counts_.replaced = replaced;
  return more;
}
std::uint64_t DocumentReader::file_position() const {
  return impl_->stream.file_position();
}

}  // namespace ttt
