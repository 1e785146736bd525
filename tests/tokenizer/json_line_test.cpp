// Only the asked fields of a line are read; whatever Python and others write into the rest of it does not matter.
#include "tokenizer/json_line.h"

#include "data/scratch.h"

namespace ttt {
namespace {

struct LineFields {
  std::string text, domain;
};

LineFields parse_line(const std::string& line, const std::string& text_field = "text",
                      const std::string& domain_field = "") {
  JsonLineParser parser(text_field, domain_field);
  const JsonLineParser::Fields fields = parser.parse(line, "here");
  return {std::string(fields.text), std::string(fields.domain)};
}

TEST(JsonLine, OtherFieldsMayHoldAnything) {
  for (const std::string other :
       {"123456789012345678901234567890", "18446744073709551616", "-1", "1e400", "-1.5E-999", "NaN", "Infinity",
        "-Infinity", "true", "false", "null", R"("\ud83d alone")", R"("\u0000 \" \\")", R"({"text": "inner"})", "[]",
        "{}", R"([1, {"a": [[], {}]}, "]}"])", "\"caf\xe9 in Latin-1\""}) {
    EXPECT_EQ(parse_line("{\"id\": " + other + ", \"text\": \"a b\"}").text, "a b") << other;
    EXPECT_EQ(parse_line("{\"text\":\"a b\",\"id\":" + other + "}\r").text, "a b") << other;
  }
  const std::string deep = std::string(200000, '[') + std::string(200000, ']');
  EXPECT_EQ(parse_line("{\"tree\": " + deep + ", \"text\": \"x\"}").text, "x");
  std::string objects = "1";
  for (int i = 0; i < 3000; ++i) objects = "{\"a\":" + objects + "}";
  EXPECT_EQ(parse_line("{\"tree\": " + objects + ", \"text\": \"x\"}").text, "x");
}

TEST(JsonLine, OfFieldsWithOneNameTheLastCounts) {
  EXPECT_EQ(parse_line(R"({"text": "old", "text": "new"})").text, "new");
  EXPECT_EQ(parse_line(R"({"text": 5, "text": "new"})").text, "new");
  EXPECT_EQ(parse_line(R"({"m": {"d": "a"}, "text": "t", "m": {"d": "b", "d": "c"}})", "text", "m.d").domain, "c");
  EXPECT_EQ(parse_line(R"({"m": {"d": "inner"}, "m.d": "direct"})", "m.d").text, "direct");
}

TEST(JsonLine, FieldsWithinFields) {
  const std::string line =
      R"({"meta": {"set": "web", "deep": {"er": "x", "a.b": "dots"}}, "t\u0065xt": "escaped name"})";
  EXPECT_EQ(parse_line(line, "text", "meta.set").domain, "web");
  EXPECT_EQ(parse_line(line, "text", "meta.deep.er").domain, "x");
  EXPECT_EQ(parse_line(line, "text", "meta.deep.a.b").domain, "dots");
  EXPECT_EQ(parse_line(line).text, "escaped name");
}

TEST(JsonLine, EscapesBecomeCharacters) {
  EXPECT_EQ(parse_line(R"({"text": "\"\\\/\b\f\n\r\t"})").text, "\"\\/\b\f\n\r\t");
  EXPECT_EQ(parse_line(R"({"text": "\u0041\u00e9\u2603\uD83D\uDE00 end"})").text,
            "A\xc3\xa9\xe2\x98\x83\xf0\x9f\x98\x80 end");
  EXPECT_EQ(parse_line(R"({"text": "a\u0000b"})").text, std::string("a\0b", 3));
  EXPECT_EQ(parse_line("{\"text\": \"caf\xc3\xa9 longer than eight bytes\"}").text,
            "caf\xc3\xa9 longer than eight bytes");
}

TEST(JsonLine, HalfASurrogatePairIsReplacedAndCounted) {
  JsonLineParser parser("text", "");
  const auto text = [&](const std::string& line) { return std::string(parser.parse(line, "here").text); };
  EXPECT_EQ(text(R"({"text": "a \ud83d half"})"), "a \xef\xbf\xbd half");
  EXPECT_EQ(text(R"({"text": "\ude00\ud83d"})"), "\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(text(R"({"text": "\ud83d\u0041"})"),
            "\xef\xbf\xbd"
            "A");
  EXPECT_EQ(text(R"({"text": "\ud83d\ud83d\ude00"})"), "\xef\xbf\xbd\xf0\x9f\x98\x80");
  EXPECT_EQ(parser.replaced(), 4);
  EXPECT_EQ(text("{\"text\": \"\xef\xbf\xbd was there\", \"x\": \"\\ud83d\"}"), "\xef\xbf\xbd was there");
  EXPECT_EQ(parser.replaced(), 4);
}

TEST(JsonLine, BrokenLinesSayWhereAndWhy) {
  const auto error = [](const std::string& line) { return user_error_of([&] { parse_line(line); }); };
  EXPECT_TRUE(mentions(error(R"({"text": "cut)"), {"here is broken JSON", "ends inside a string"}));
  EXPECT_TRUE(mentions(error(R"({"text": "cut\)"), {"ends inside a string"}));
  EXPECT_TRUE(mentions(error(R"({"text": "a", "b": [1, 2})"), {"a ',' or ']' is missing at byte 24"}));
  EXPECT_TRUE(mentions(error(R"({"text": "a", "b": [1, 2)"), {"it ends where", "']'"}));
  EXPECT_TRUE(mentions(error(R"({"text": "a" "b": 1})"), {"is missing at byte 13"}));
  EXPECT_TRUE(mentions(error(R"({"text": "a", "b"})"), {"':' is missing"}));
  EXPECT_TRUE(mentions(error(R"({"text": "a",})"), {"a field's name is missing"}));
  EXPECT_TRUE(mentions(error(R"({'text': "a"})"), {"a field's name is missing at byte 1"}));
  EXPECT_TRUE(mentions(error(R"({"text": "a", "b": None})"), {"a value is missing at byte 19"}));
  EXPECT_TRUE(mentions(error(R"({"text": "a", "b": -})"), {"a value is missing"}));
  EXPECT_TRUE(mentions(error(R"({"text": "a", "b": })"), {"a value is missing"}));
  EXPECT_TRUE(mentions(error(R"({"text": "a"} {"text": "b"})"), {"follows the object at byte 14"}));
  EXPECT_TRUE(mentions(error(R"({"text": "a\x41"})"), {"unknown escape '\\x'"}));
  EXPECT_TRUE(mentions(error(R"({"text": "a\u12"})"), {"unknown escape '\\u'"}));
  EXPECT_TRUE(mentions(error("{\"text\": \"a\nb\"}"), {"control character", "byte 11"}));
  EXPECT_TRUE(mentions(error("NaN"), {"here is a number, not an object"}));
}

TEST(JsonLine, ALookSaysWhetherALineIsADocument) {
  const JsonLineParser parser("body.text", "");
  using Look = JsonLineParser::Look;
  EXPECT_EQ(parser.look_at(R"({"body": {"text": "x"}})"), Look::kDocument);
  EXPECT_EQ(parser.look_at(R"({"text": "x"})"), Look::kObject);
  EXPECT_EQ(parser.look_at(R"({"body.text": 5})"), Look::kObject);
  EXPECT_EQ(parser.look_at(R"({"body": {"text": "x")"), Look::kNoObject);
  EXPECT_EQ(parser.look_at(R"(["body"])"), Look::kNoObject);
  EXPECT_EQ(parser.look_at("{"), Look::kNoObject);
  EXPECT_EQ(parser.look_at(""), Look::kNoObject);
}

}  // namespace
}  // namespace ttt
