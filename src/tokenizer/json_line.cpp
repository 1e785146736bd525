#include "tokenizer/json_line.h"

#include <simdjson.h>

#include "base/error.h"
#include "base/utf8.h"

namespace ttt {
namespace {

namespace dom = simdjson::dom;

static_assert(JsonLineParser::kPadding >= simdjson::SIMDJSON_PADDING);

constexpr std::size_t kMaxKeys = 12;  // listed in an error

const char* type_name(dom::element_type type) {
  switch (type) {
    case dom::element_type::ARRAY:
      return "an array";
    case dom::element_type::OBJECT:
      return "an object";
    case dom::element_type::STRING:
      return "a string";
    case dom::element_type::BOOL:
      return "a truth value";
    case dom::element_type::NULL_VALUE:
      return "null";
    default:
      return "a number";
  }
}

// "a, b, c": the names of an object's fields.
std::string list_keys(dom::object object) {
  std::string keys;
  std::size_t count = 0;
  for (const dom::key_value_pair field : object) {
    if (count++ == kMaxKeys) return keys + ", ...";
    keys += (keys.empty() ? "" : ", ") + std::string(field.key);
  }
  return keys.empty() ? "none" : keys;
}

// simdjson's reason without its code in front ("TAPE_ERROR: The JSON document ...").
std::string reason(simdjson::error_code error) {
  std::string text = simdjson::error_message(error);
  if (const std::size_t colon = text.find(": "); colon != text.npos && text.find(' ') > colon) text.erase(0, colon + 2);
  while (!text.empty() && (text.back() == '.' || text.back() == ' ')) text.pop_back();
  return text;
}

// The string in the field `name`; `option` sets the name.
std::string_view find_text(dom::object line, const std::string& name, const char* option, const std::string& place) {
  dom::object object = line;
  std::string_view rest = name;
  dom::element value;
  while (object.at_key(rest).get(value) != simdjson::SUCCESS) {
    const std::size_t dot = rest.find('.');
    const bool inside = dot != rest.npos && object.at_key(rest.substr(0, dot)).get(value) == simdjson::SUCCESS;
    if (!inside) {
      user_error(place, ": there is no field '", name, "'; the fields here are: ", list_keys(object), "; name one by ",
                 option);
    }
    if (value.get(object) != simdjson::SUCCESS) {
      user_error(place, ": the field '", name.substr(0, name.size() - rest.size() + dot), "' is ",
                 type_name(value.type()), ", not an object with '", rest.substr(dot + 1), "'; name another by ",
                 option);
    }
    rest.remove_prefix(dot + 1);
  }
  std::string_view text;
  if (value.get(text) != simdjson::SUCCESS) {
    user_error(place, ": the field '", name, "' is ", type_name(value.type()), ", not a string; name another by ",
               option);
  }
  return text;
}

}  // namespace

struct JsonLineParser::Impl {
  std::string text_field, domain_field;
  dom::parser parser;
};

JsonLineParser::JsonLineParser(std::string text_field, std::string domain_field) : impl_(std::make_unique<Impl>()) {
  impl_->text_field = std::move(text_field);
  impl_->domain_field = std::move(domain_field);
}
JsonLineParser::~JsonLineParser() = default;

JsonLineParser::Fields JsonLineParser::parse(std::string_view line, const std::string& place) {
  dom::element root;
  const simdjson::error_code error =
      impl_->parser.parse(line.data(), line.size(), /*realloc_if_needed=*/false).get(root);
  if (error == simdjson::UTF8_ERROR) {
    user_error(place, " is not UTF-8 text: its byte ", find_invalid_utf8(line).value_or(0),
               " is not part of a character; convert the file to UTF-8");
  }
  if (error != simdjson::SUCCESS) user_error(place, " is broken JSON (", reason(error), "); mend or remove the line");
  dom::object object;
  if (root.get(object) != simdjson::SUCCESS) {
    user_error(place, " is ", type_name(root.type()), ", not an object; JSON Lines have one object a line");
  }
  Fields fields;
  fields.text = find_text(object, impl_->text_field, "--text-field", place);
  if (!impl_->domain_field.empty()) fields.domain = find_text(object, impl_->domain_field, "--domain-field", place);
  return fields;
}

}  // namespace ttt
