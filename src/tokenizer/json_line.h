// One line of JSON Lines: a document's text and domain, by simdjson.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace ttt {

class JsonLineParser {
 public:
  static constexpr std::size_t kPadding = 64;  // bytes behind a line that may be read

  // Fields by name; "a.b" is the field of that name, else the field b within the field a.
  JsonLineParser(std::string text_field, std::string domain_field);
  ~JsonLineParser();

  struct Fields {
    std::string_view text, domain;  // until the next call
  };
  // kPadding bytes of memory must follow the line. `place` ("'a.jsonl' line 3") begins the UserError of a line that is
  // no JSON object, that lacks a field, or has none of text there.
  Fields parse(std::string_view line, const std::string& place);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ttt
