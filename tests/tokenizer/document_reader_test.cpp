// Documents of plain text and JSON Lines, as they are and compressed; and input that is damaged.
#include "tokenizer/document_reader.h"

#include <zlib.h>
#include <zstd.h>

#include <vector>

#include "data/scratch.h"
#include "tokenizer/text_stream.h"

namespace ttt {
namespace {

std::string zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);  // as the zstd program does
  out.resize(ZSTD_compress2(context, out.data(), out.size(), text.data(), text.size()));
  ZSTD_freeCCtx(context);
  return out;
}

std::string gzip(const std::string& text) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

struct Document {
  std::string text, domain;
  DocumentPlace place;
};

std::vector<Document> read_all(const fs::path& path, const DocumentFormat& format = {},
                               const DocumentPlace& from = {}) {
  DocumentReader reader(path, format, from);
  std::vector<Document> documents;
  DocumentPart part;
  bool open = false;
  while (reader.next(part)) {
    EXPECT_EQ(part.first, !open);
    if (part.first) documents.push_back({"", std::string(part.domain), part.place});
    documents.back().text += part.text;
    open = !part.last;
  }
  EXPECT_FALSE(open);
  EXPECT_EQ(reader.file_position(), fs::file_size(path));
  return documents;
}

std::vector<std::string> texts_of(const fs::path& path, const DocumentFormat& format = {}) {
  std::vector<std::string> texts;
  for (const Document& document : read_all(path, format)) texts.push_back(document.text);
  return texts;
}

using Texts = std::vector<std::string>;

// Three megabytes of text with characters of every length, so that blocks cut some of them.
std::string long_text() {
  std::string text;
  for (int i = 0; text.size() < 3'000'000; ++i)
    text += "caf\xc3\xa9 \xe2\x98\x83 \xf0\x9f\x98\x80 " + std::to_string(i);
  return text;
}

TEST(DocumentReader, AFileIsADocumentCompressedOrNot) {
  const ScratchFolder folder;
  const std::string text = long_text();
  EXPECT_EQ(texts_of(folder.write("a.txt", text)), Texts{text});
  EXPECT_EQ(texts_of(folder.write("a.txt.zst", zstd(text))), Texts{text});
  EXPECT_EQ(texts_of(folder.write("a.txt.gz", gzip(text))), Texts{text});
  EXPECT_EQ(texts_of(folder.write("empty.txt", "")), Texts{});
  EXPECT_EQ(texts_of(folder.write("empty.gz", gzip(""))), Texts{});
  EXPECT_EQ(texts_of(folder.write("empty.zst", zstd(""))), Texts{});
  // Frames and members one behind the other, as parallel compressors write them.
  EXPECT_EQ(texts_of(folder.write("frames.zst", zstd("one, ") + zstd("") + zstd("two"))), Texts{"one, two"});
  EXPECT_EQ(texts_of(folder.write("members.gz", gzip("one, ") + gzip("") + gzip("two"))), Texts{"one, two"});
  EXPECT_EQ(text_size(folder / "a.txt.gz"), text.size());
  EXPECT_EQ(text_size(folder / "a.txt"), text.size());
}

TEST(DocumentReader, SeparatorLinesPartDocuments) {
  const ScratchFolder folder;
  const DocumentFormat format{.separator = "<|end|>"};
  const auto texts = [&](const std::string& content) { return texts_of(folder.write("a.txt", content), format); };
  EXPECT_EQ(texts("one\n<|end|>\ntwo\n<|end|>\n"), (Texts{"one\n", "two\n"}));
  EXPECT_EQ(texts("<|end|>\n<|end|>\none\n<|end|>"), Texts{"one\n"});
  EXPECT_EQ(texts("one\n<|end|>\r\ntwo\r\n<|end|>\r"), (Texts{"one\n", "two\r\n"}));
  // Only a line that holds nothing else.
  EXPECT_EQ(texts("a <|end|>\n<|end|> b\n<|end|>x\n"), Texts{"a <|end|>\n<|end|> b\n<|end|>x\n"});
  EXPECT_EQ(texts("a\n<|end|"), Texts{"a\n<|end|"});
  // Wherever a block ends: 1 MiB is read at once.
  for (std::size_t before = (1 << 20) - 12; before < (1 << 20) + 3; ++before) {
    const std::string one = std::string(before, 'x') + "\n";
    EXPECT_EQ(texts(one + "<|end|>\ntwo"), (Texts{one, "two"})) << before;
  }
}

TEST(DocumentReader, AByteOrderMarkIsNoText) {
  const ScratchFolder folder;
  const std::string mark = "\xef\xbb\xbf";
  EXPECT_EQ(texts_of(folder.write("a.txt", mark + "one")), Texts{"one"});
  EXPECT_EQ(texts_of(folder.write("a.txt", mark)), Texts{});
  EXPECT_EQ(texts_of(folder.write("b.txt", "one" + mark)), Texts{"one" + mark});
  const fs::path path = folder.write("c.txt", mark + "%\none\n%\n" + mark + "%\ntwo\n");
  EXPECT_EQ(texts_of(path, {.separator = "%"}), (Texts{"one\n", mark + "%\ntwo\n"}));
  EXPECT_EQ(read_all(path, {.separator = "%"}).at(0).place.offset, 5u);
  EXPECT_EQ(read_all(folder / "a.txt", {.separator = "%"}).size(), 0u);
  EXPECT_EQ(texts_of(folder.write("d.txt.gz", gzip(mark + "one"))), Texts{"one"});
}

TEST(DocumentReader, ZerosBehindGzipDataAreNoText) {
  const ScratchFolder folder;
  const std::string zeros(700000, '\0');
  EXPECT_EQ(texts_of(folder.write("a.txt.gz", gzip("one") + zeros)), Texts{"one"});
  EXPECT_EQ(texts_of(folder.write("b.txt.gz", gzip("one, ") + zeros + gzip("two") + "\0")), Texts{"one, two"});
  EXPECT_TRUE(mentions(user_error_of([&] { texts_of(folder.write("c.txt.gz", gzip("one") + zeros + "rest")); }),
                       {"c.txt.gz", "not whole gzip data"}));
}

TEST(DocumentReader, NamesCountWithoutRegardToCase) {
  const ScratchFolder folder;
  EXPECT_EQ(texts_of(folder.write("a.TXT.GZ", gzip("one"))), Texts{"one"});
  EXPECT_EQ(texts_of(folder.write("a.JSONL.Zst", zstd("{\"text\": \"two\"}"))), Texts{"two"});
}

TEST(DocumentReader, WhatIsPassedOverIsCounted) {
  const ScratchFolder folder;
  const auto counts = [&](const std::string& name, const std::string& content, const DocumentFormat& format = {}) {
    DocumentReader reader(folder.write(name, content), format);
    DocumentPart part;
    while (reader.next(part)) {
    }
    return reader.counts();
  };
  EXPECT_EQ(counts("a.jsonl", "{\"text\": \"\"}\n\n{\"text\": \"one\"}\n{\"text\": \"\"}\n").empty, 2);
  EXPECT_EQ(counts("a.jsonl", "{\"text\": \"\\ud83d\"}\n{\"text\": \"one\"}\n").replaced, 1);
  EXPECT_EQ(counts("a.txt", "%\none\n%\n%\ntwo\n%\n", {.separator = "%"}).empty, 1);
  EXPECT_TRUE(counts("a.txt", "one\n%\ntwo", {.separator = "%"}).separated);
  EXPECT_FALSE(counts("a.txt", "one % two", {.separator = "%"}).separated);
  // Before a document, what belongs to it does not count: reading may begin there again.
  DocumentReader reader(folder.write("b.jsonl", "{\"text\": \"\"}\n{\"text\": \"\\ud83d\"}\n"), {});
  DocumentPart part;
  ASSERT_TRUE(reader.next(part));
  EXPECT_EQ(reader.counts().empty, 1);
  EXPECT_EQ(reader.counts().replaced, 0);
}

TEST(DocumentReader, SeparatorsThatNoLineHoldsAreRefused) {
  EXPECT_TRUE(mentions(user_error_of([] { check_separator("<|end|>\n"); }), {"--separator", "line end"}));
  EXPECT_TRUE(mentions(user_error_of([] { check_separator("\r"); }), {"--separator", "line end"}));
  EXPECT_TRUE(mentions(user_error_of([] { check_separator("\xff"); }), {"--separator", "not UTF-8"}));
  check_separator("<|endoftext|>");
  check_separator("");
}

TEST(DocumentReader, JsonLinesHoldTextAndDomain) {
  const ScratchFolder folder;
  const std::string lines =
      "{\"text\": \"one \\u00e9\\n\", \"meta\": {\"set\": \"web\"}}\n"
      "\n"
      "{\"meta\": {\"set\": \"code\", \"n\": 3}, \"text\": \"\"}\r\n"
      "{\"meta\": {\"set\": \"code\"}, \"text\": \"two\"}";
  const DocumentFormat format{.domain_field = "meta.set"};
  for (const std::string name : {"a.jsonl", "a.ndjson", "a.jsonl.zst", "a.json.gz"}) {
    const std::string content = name.ends_with(".zst") ? zstd(lines) : name.ends_with(".gz") ? gzip(lines) : lines;
    const std::vector<Document> documents = read_all(folder.write(name, content), format);
    ASSERT_EQ(documents.size(), 2u) << name;
    EXPECT_EQ(documents[0].text, "one \xc3\xa9\n");
    EXPECT_EQ(documents[0].domain, "web");
    EXPECT_EQ(documents[1].text, "two");
    EXPECT_EQ(documents[1].domain, "code");
    EXPECT_EQ(documents[1].place.line, 4);
    // From a document's place on.
    const std::vector<Document> rest = read_all(folder / name, format, documents[1].place);
    ASSERT_EQ(rest.size(), 1u) << name;
    EXPECT_EQ(rest[0].text, "two");
    EXPECT_EQ(rest[0].place.line, 4);
  }
  // A field whose name holds a dot; another text field; a byte order mark; a line longer than a block.
  EXPECT_EQ(texts_of(folder.write("b.jsonl", "\xef\xbb\xbf{\"a.b\":\"dotted\"}"), {.text_field = "a.b"}),
            Texts{"dotted"});
  const std::string text = long_text();
  EXPECT_EQ(texts_of(folder.write("c.jsonl", "{\"content\":\"" + text + "\"}\n"), {.text_field = "content"}),
            Texts{text});
  // A .json file that holds one value is a text like any other.
  EXPECT_EQ(texts_of(folder.write("d.json", "{}")), Texts{"{}"});
}

TEST(DocumentReader, PlacesOfSeparatedDocuments) {
  const ScratchFolder folder;
  const std::string content = "one\n%\n\xc3\xa9\n%\nthree\n";
  for (const std::string name : {"a.txt", "a.txt.gz"}) {
    folder.write(name, name.ends_with(".gz") ? gzip(content) : content);
    const std::vector<Document> documents = read_all(folder / name, {.separator = "%"});
    ASSERT_EQ(documents.size(), 3u);
    for (std::size_t i = 0; i < 3; ++i) {
      const std::vector<Document> rest = read_all(folder / name, {.separator = "%"}, documents[i].place);
      ASSERT_EQ(rest.size(), 3 - i);
      EXPECT_EQ(rest[0].text, documents[i].text);
      EXPECT_EQ(rest[0].place.offset, documents[i].place.offset);
    }
  }
}

TEST(DocumentReader, NamesTheBrokenLine) {
  const ScratchFolder folder;
  const auto error = [&](const std::string& second, const DocumentFormat& format = {}) {
    const fs::path path =
        folder.write("a.jsonl", "{\"text\": \"good\", \"meta\": {\"set\": \"web\"}}\n" + second + "\n");
    return user_error_of([&] { read_all(path, format); });
  };
  EXPECT_TRUE(mentions(error("{\"text\": \"cut"), {"a.jsonl' line 2", "broken JSON"}));
  EXPECT_TRUE(mentions(error("{\"text\": \"a\"} x"), {"line 2", "broken JSON"}));
  EXPECT_TRUE(mentions(error("{'text': 'a'}"), {"line 2", "broken JSON"}));
  EXPECT_TRUE(mentions(error("{\"text\": \"\\u12\"}"), {"line 2", "broken JSON"}));
  EXPECT_TRUE(mentions(error("[1, 2]"), {"line 2", "an array", "not an object"}));
  EXPECT_TRUE(mentions(error("\"text\""), {"line 2", "a string"}));
  EXPECT_TRUE(
      mentions(error("{\"body\": \"a\", \"id\": 7}"), {"line 2", "no field 'text'", "body, id", "--text-field"}));
  EXPECT_TRUE(mentions(error("{}"), {"line 2", "no field 'text'", "none"}));
  EXPECT_TRUE(mentions(error("{\"text\": 5}"), {"line 2", "'text' is a number", "--text-field"}));
  EXPECT_TRUE(mentions(error("{\"text\": null}"), {"'text' is null"}));
  EXPECT_TRUE(mentions(error("{\"text\": \"a\", \"meta\": {\"n\": 1}}", {.domain_field = "meta.set"}),
                       {"line 2", "no field 'meta.set'", "fields here are: n", "--domain-field"}));
  EXPECT_TRUE(mentions(error("{\"text\": \"a\", \"meta\": 3}", {.domain_field = "meta.set"}),
                       {"line 2", "'meta' is a number", "not an object with 'set'"}));
  EXPECT_TRUE(mentions(error("{\"text\": \"caf\xe9\"}"), {"line 2", "not UTF-8", "byte 13"}));
}

TEST(DocumentReader, NamesTheFileAndByteOfWhatIsNotUtf8) {
  const ScratchFolder folder;
  const std::string text = long_text();
  const auto error = [&](const std::string& content) {
    return user_error_of([&] { read_all(folder.write("a.txt", content)); });
  };
  EXPECT_TRUE(mentions(error("good, then \xe9\n"), {"a.txt", "not UTF-8", "byte 11", "0xE9"}));
  EXPECT_TRUE(mentions(error(text + "\xff and on"), {"byte " + std::to_string(text.size()), "0xFF"}));
  EXPECT_TRUE(mentions(error(text + "\xe2\x98"), {"byte " + std::to_string(text.size()), "0xE2"}));  // ends early
  EXPECT_TRUE(mentions(error("\xff"), {"byte 0"}));
}

TEST(DocumentReader, NamesCompressedFilesThatAreNotWhole) {
  const ScratchFolder folder;
  const std::string text = long_text();
  const auto error = [&](const std::string& name, const std::string& content) {
    return user_error_of([&] { read_all(folder.write(name, content)); });
  };
  for (const std::string name : {"a.txt.zst", "a.jsonl.zst", "a.txt.gz"}) {
    const std::string plain = name == "a.jsonl.zst" ? "{\"text\":\"" + text + "\"}\n" : text;
    const std::string whole = name.ends_with(".gz") ? gzip(plain) : zstd(plain);
    for (const std::size_t size : {std::size_t{0}, std::size_t{3}, whole.size() / 2, whole.size() - 1}) {
      EXPECT_TRUE(mentions(error(name, whole.substr(0, size)), {name, "truncated"})) << size;
    }
    EXPECT_TRUE(mentions(error(name, "This was never compressed."), {name, "not whole"}));
    std::string damaged = whole;
    for (std::size_t i = whole.size() / 2; i < whole.size() / 2 + 64; ++i)
      damaged[i] = static_cast<char>(damaged[i] ^ 0x5a);
    EXPECT_NE(error(name, damaged), "");
  }
}

}  // namespace
}  // namespace ttt
