// One line of JSON Lines: a document's text and domain. Only these two fields are read; of the others it is only found
// out where they end, so that numbers of any size, NaN, halves of surrogate pairs or deep nesting in them do not
// matter.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ttt {

class JsonLineParser {
 public:
  // Fields by name; "a.b" is the field of that name, else the field b within the field a. Of fields with one name the
  // last counts.
  // `text_option`, `domain_option`: what the command calls them, for errors.
  JsonLineParser(std::string text_field, std::string domain_field, const char* text_option = "--text-field",
                 const char* domain_option = "--domain-field");

  struct Fields {
    std::string_view text, domain;  // until the next call, or as long as the line
  };
  // `place` ("'a.jsonl' line 3") begins the UserError of a line that is no JSON object, that lacks a field, or has none
  // of text there. Half of a surrogate pair (\ud83d alone) becomes U+FFFD.
  Fields parse(std::string_view line, const std::string& place);

  // What a line is, without an error: no whole object, an object, or one with a string in the text field.
  enum class Look { kNoObject, kObject, kDocument };
  Look look_at(std::string_view line) const;
  // Of a text that begins with an array: what the array's first element is.
  Look look_into(std::string_view array) const;

  std::int64_t replaced() const { return replaced_; }  // documents so far in which U+FFFD stands for such a half

 private:
  std::string text_field_, domain_field_;
  const char *text_option_, *domain_option_;
  std::string text_, domain_;  // where the line has escapes
  std::int64_t replaced_ = 0;
};

}  // namespace ttt
