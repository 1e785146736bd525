#include "tokenizer/json_line.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/utf8.h"

namespace ttt {
namespace {

constexpr std::size_t kMaxKeys = 12;  // listed in an error
constexpr std::string_view kJsonSpace = " \t\r\n";
constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD

// Why a line is not JSON: caught in this file.
struct BrokenJson {
  std::string reason;
};

// A value is a view of the line: from its first character to behind its last.
using JsonValue = std::string_view;

const char* type_of(JsonValue value) {
  switch (value.front()) {
    case '{':
      return "an object";
    case '[':
      return "an array";
    case '"':
      return "a string";
    case 't':
    case 'f':
      return "a truth value";
    case 'n':
      return "null";
    default:
      return "a number";
  }
}

// Walks along a text of JSON. Strings and numbers are passed over, not read.
class JsonScanner {
 public:
  explicit JsonScanner(std::string_view text) : text_(text) {}

  std::size_t at() const { return at_; }
  // The next character behind white space; 0 at the end.
  char peek() {
    while (at_ < text_.size() && kJsonSpace.find(text_[at_]) != kJsonSpace.npos) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  void take(char c, const char* what) {
    if (peek() != c) broken(what);
    ++at_;
  }

  // A string's content between its quotes, escapes as they are.
  std::string_view take_string(const char* what = "a string") {
    take('"', what);
    const std::size_t begin = at_;
    while (true) {
      at_ = special_of_string(at_);
      if (at_ >= text_.size()) throw BrokenJson{"it ends inside a string"};
      const char c = text_[at_];
      if (c == '"') return text_.substr(begin, at_++ - begin);
      if (c != '\\') throw BrokenJson{cat("a string holds a control character at byte ", at_)};
      at_ += 2;
    }
  }

  JsonValue take_value() {
    peek();
    const std::size_t begin = at_;
    open_.clear();
    while (true) {
      begin_value();
      if (open_.empty()) return text_.substr(begin, at_ - begin);
    }
  }

  [[noreturn]] void broken(const char* expected) {
    if (peek() == '\0' && at_ >= text_.size()) throw BrokenJson{cat("it ends where ", expected, " should be")};
    throw BrokenJson{cat(expected, " is missing at byte ", at_)};
  }

 private:
  // Takes a scalar, or the beginning of a container, and then whatever closes before the next value.
  void begin_value() {
    const char c = peek();
    if (c == '{' || c == '[') {
      ++at_;
      open_ += c;
      if (peek() != (c == '{' ? '}' : ']')) return begin_member();
    } else if (c == '"') {
      take_string();
    } else {
      take_scalar();
    }
    while (!open_.empty()) {
      const char next = peek(), close = open_.back() == '{' ? '}' : ']';
      if (next == ',') {
        ++at_;
        return begin_member();
      }
      if (next != close) broken(close == '}' ? "a ',' or '}'" : "a ',' or ']'");
      ++at_;
      open_.pop_back();
    }
  }

  void begin_member() {
    if (open_.back() != '{') return;
    take_string("a field's name");
    take(':', "a ':'");
  }

  // A number of any size, or one of the words that JSON and Python have.
  void take_scalar() {
    const std::size_t begin = at_;
    const auto is_part = [](char c) {
      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '+' || c == '-' ||
             c == '.';
    };
    while (at_ < text_.size() && is_part(text_[at_])) ++at_;
    const std::string_view word = text_.substr(begin, at_ - begin);
    for (const char* known : {"true", "false", "null", "NaN", "Infinity", "-Infinity"})
      if (word == known) return;
    const std::size_t digit = word.starts_with('-') ? 1 : 0;
    const bool number = digit < word.size() && word[digit] >= '0' && word[digit] <= '9' &&
                        word.find_first_not_of("0123456789+-.eE", digit) == word.npos;
    if (number) return;
    at_ = begin;
    broken("a value");
  }

  // The first quote, backslash or control character at or behind `at`.
  std::size_t special_of_string(std::size_t at) const {
    constexpr std::uint64_t kOnes = 0x0101010101010101ULL, kHigh = 0x8080808080808080ULL;
    const auto has_zero = [](std::uint64_t word) { return (word - kOnes) & ~word & kHigh; };
    std::uint64_t word;
    for (; at + sizeof word <= text_.size(); at += sizeof word) {
      std::memcpy(&word, text_.data() + at, sizeof word);
      const std::uint64_t control = (word - kOnes * 0x20) & ~word & kHigh;
      if ((control | has_zero(word ^ (kOnes * '"')) | has_zero(word ^ (kOnes * '\\'))) != 0) break;
    }
    while (at < text_.size() && text_[at] != '"' && text_[at] != '\\' && static_cast<unsigned char>(text_[at]) >= 0x20)
      ++at;
    return at;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::string open_;  // the brackets around the place
};

// Four hexadecimal digits.
std::optional<std::uint32_t> code_unit(std::string_view raw, std::size_t at) {
  if (at + 4 > raw.size()) return std::nullopt;
  std::uint32_t value = 0;
  for (const char c : raw.substr(at, 4)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) return std::nullopt;
    value = value * 16 + static_cast<std::uint32_t>(digit);
  }
  return value;
}

void append_character(std::string& text, std::uint32_t c) {
  const auto byte = [&](std::uint32_t value) { text += static_cast<char>(value); };
  if (c < 0x80) return byte(c);
  if (c < 0x800) {
    byte(0xc0 | c >> 6);
  } else if (c < 0x10000) {
    byte(0xe0 | c >> 12);
    byte(0x80 | (c >> 6 & 0x3f));
  } else {
    byte(0xf0 | c >> 18);
    byte(0x80 | (c >> 12 & 0x3f));
    byte(0x80 | (c >> 6 & 0x3f));
  }
  byte(0x80 | (c & 0x3f));
}

// The text that a string's content stands for: `raw` itself where nothing is escaped, else in `buffer`. Sets `replaced`
// when U+FFFD had to stand for half of a surrogate pair.
std::string_view unescape(std::string_view raw, std::string& buffer, bool& replaced) {
  constexpr std::string_view kLetters = "\"\\/bfnrt", kMeaning = "\"\\/\b\f\n\r\t";
  std::size_t escape = raw.find('\\');
  if (escape == raw.npos) return raw;
  buffer.clear();
  std::size_t at = 0;
  for (; escape != raw.npos; escape = raw.find('\\', at)) {
    buffer += raw.substr(at, escape - at);
    at = escape + 2;
    const char letter = raw[escape + 1];
    if (const std::size_t known = kLetters.find(letter); known != kLetters.npos) {
      buffer += kMeaning[known];
      continue;
    }
    const std::optional<std::uint32_t> unit = letter == 'u' ? code_unit(raw, at) : std::nullopt;
    if (!unit) throw BrokenJson{cat("a string holds the unknown escape '", raw.substr(escape, 2), "'")};
    at += 4;
    if (*unit < 0xd800 || *unit > 0xdfff) {
      append_character(buffer, *unit);
      continue;
    }
    const bool another = *unit < 0xdc00 && raw.substr(at, 2) == "\\u";
    const std::optional<std::uint32_t> low = another ? code_unit(raw, at + 2) : std::nullopt;
    if (low && *low >= 0xdc00 && *low <= 0xdfff) {
      append_character(buffer, 0x10000 + ((*unit - 0xd800) << 10) + (*low - 0xdc00));
      at += 6;
    } else {
      buffer += kReplacement;
      replaced = true;
    }
  }
  buffer += raw.substr(at);
  return buffer;
}

bool is_key(std::string_view raw, std::string_view name) {
  if (raw.find('\\') == raw.npos) return raw == name;
  std::string buffer;
  bool replaced = false;
  return unescape(raw, buffer, replaced) == name;
}

// Calls act(name as written, value) for each field of an object, and returns what is behind it.
template <class Act>
std::size_t for_each_field(std::string_view object, const Act& act) {
  JsonScanner scanner(object);
  scanner.take('{', "a '{'");
  if (scanner.peek() != '}') {
    while (true) {
      const std::string_view name = scanner.take_string("a field's name");
      scanner.take(':', "a ':'");
      act(name, scanner.take_value());
      if (scanner.peek() != ',') break;
      scanner.take(',', "a ','");
    }
  }
  scanner.take('}', "a ',' or '}'");
  return scanner.at();
}

// "a, b, c": the names of an object's fields.
std::string list_keys(JsonValue object) {
  std::string keys;
  std::size_t count = 0;
  for_each_field(object, [&](std::string_view name, JsonValue) {
    if (++count > kMaxKeys + 1) return;
    keys += (keys.empty() ? "" : ", ") + (count > kMaxKeys ? "..." : std::string(name));
  });
  return keys.empty() ? "none" : keys;
}

// A field that is looked for: what an object holds of it.
struct FieldSearch {
  std::string_view name;  // what is left of it: "a.b", then "b"
  JsonValue direct = {};  // the field of that name
  JsonValue outer = {};   // the field of the name before its first dot
  bool wanted() const { return !name.empty(); }
  std::string_view first_name() const { return name.substr(0, name.find('.')); }
  void take(std::string_view key, JsonValue value) {
    if (!wanted()) return;
    if (is_key(key, name)) direct = value;
    if (name.find('.') != name.npos && is_key(key, first_name())) outer = value;
  }
};

// The string in the field that `search` looks for, as it is written; `option` sets the name.
std::string_view find_text(JsonValue object, FieldSearch search, const char* option, const std::string& place) {
  const std::string_view name = search.name;
  while (search.direct.empty()) {
    if (search.outer.empty()) {
      user_error(place, ": there is no field '", name, "'; the fields here are: ", list_keys(object), "; name one by ",
                 option);
    }
    const std::size_t dot = search.name.find('.');
    const std::string_view rest = search.name.substr(dot + 1);
    if (search.outer.front() != '{') {
      user_error(place, ": the field '", name.substr(0, name.size() - rest.size() - 1), "' is ", type_of(search.outer),
                 ", not an object with '", rest, "'; name another by ", option);
    }
    object = search.outer;
    search = {.name = rest};
    for_each_field(object, [&](std::string_view key, JsonValue value) { search.take(key, value); });
  }
  if (search.direct.front() != '"') {
    user_error(place, ": the field '", name, "' is ", type_of(search.direct), ", not a string; name another by ",
               option);
  }
  return search.direct.substr(1, search.direct.size() - 2);
}

// Nothing but white space is behind the object that ends at `end`.
void require_end(std::string_view line, std::size_t end) {
  JsonScanner rest(line.substr(end));
  if (rest.peek() != '\0' || end + rest.at() < line.size())
    throw BrokenJson{cat("something follows the object at byte ", end + rest.at())};
}

}  // namespace

JsonLineParser::JsonLineParser(std::string text_field, std::string domain_field, const char* text_option,
                               const char* domain_option)
    : text_field_(std::move(text_field)),
      domain_field_(std::move(domain_field)),
      text_option_(text_option),
      domain_option_(domain_option) {}

JsonLineParser::Fields JsonLineParser::parse(std::string_view line, const std::string& place) try {
  JsonScanner start(line);
  if (start.peek() != '{') {
    const JsonValue value = start.take_value();
    require_end(line, start.at());
    user_error(place, " is ", type_of(value), ", not an object; JSON Lines have one object a line");
  }
  FieldSearch text{.name = text_field_}, domain{.name = domain_field_};
  const std::size_t begin = start.at();
  const std::size_t end = for_each_field(line.substr(begin), [&](std::string_view key, JsonValue value) {
    text.take(key, value);
    domain.take(key, value);
  });
  require_end(line, begin + end);
  const JsonValue object = line.substr(begin, end);
  const auto read = [&](const FieldSearch& search, const char* option, std::string& buffer, bool& replaced) {
    const std::string_view raw = find_text(object, search, option, place);
    if (const std::optional<std::size_t> bad = find_invalid_utf8(raw)) {
      user_error(place, " is not UTF-8 text: its byte ", static_cast<std::size_t>(raw.data() - line.data()) + *bad,
                 " is not part of a character; convert the file to UTF-8");
    }
    return unescape(raw, buffer, replaced);
  };
  Fields fields;
  bool replaced = false, of_domain = false;
  fields.text = read(text, text_option_, text_, replaced);
  if (domain.wanted()) fields.domain = read(domain, domain_option_, domain_, of_domain);
  replaced_ += replaced || of_domain ? 1 : 0;
  return fields;
} catch (const BrokenJson& broken) {
  user_error(place, " is broken JSON (", broken.reason, "); mend or remove the line");
}

JsonLineParser::Look JsonLineParser::look_into(std::string_view array) const try {
  JsonScanner scanner(array);
  scanner.take('[', "a '['");
  return look_at(scanner.take_value());
} catch (const BrokenJson&) {
  return Look::kNoObject;
}

JsonLineParser::Look JsonLineParser::look_at(std::string_view line) const {
  try {
    JsonScanner start(line);
    if (start.peek() != '{') return Look::kNoObject;
    FieldSearch text{.name = text_field_};
    const std::size_t begin = start.at();
    const std::size_t end =
        for_each_field(line.substr(begin), [&](std::string_view key, JsonValue value) { text.take(key, value); });
    require_end(line, begin + end);
    find_text(line.substr(begin, end), text, text_option_, "");
    return Look::kDocument;
  } catch (const BrokenJson&) {
    return Look::kNoObject;
  } catch (const UserError&) {  // there is no text
    return Look::kObject;
  }
}

}  // namespace ttt
