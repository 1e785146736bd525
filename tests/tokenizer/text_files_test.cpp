// Which files an input stands for, and what each of them holds: nothing is left out without a word.
#include "tokenizer/text_files.h"

#include <sys/stat.h>

#include "data/scratch.h"
#include "tokenizer/text_kind.h"

namespace ttt {
namespace {

std::vector<std::string> names_of(const ScratchFolder& folder, const TextInput& input) {
  std::vector<std::string> names;
  for (const TextFile& file : list_text_files(input))
    names.push_back(file.path.lexically_relative(folder.path()).string());
  return names;
}

using Names = std::vector<std::string>;

TEST(TextFiles, LinksAreFollowedAndEachFileIsTakenOnce) {
  const ScratchFolder folder;
  for (const char* name : {"in/b.txt", "in/sub/c.txt", "outside/d.txt", "outside/deep/e.txt", "one.txt"})
    folder.write(name, "text");
  fs::create_symlink("../outside", folder / "in/linked");
  fs::create_symlink("../../one.txt", folder / "in/sub/file.txt");
  const Names expected = {"in/b.txt", "in/linked/d.txt", "in/linked/deep/e.txt", "in/sub/c.txt", "in/sub/file.txt"};
  EXPECT_EQ(names_of(folder, {.inputs = {folder / "in"}}), expected);
  // Circles end; what is named twice or lies in two inputs comes once, in the first place.
  fs::create_symlink("..", folder / "in/sub/up");
  fs::create_symlink("../in", folder / "outside/back");
  EXPECT_EQ(names_of(folder, {.inputs = {folder / "in"}}), expected);
  EXPECT_EQ(
      names_of(folder, {.inputs = {folder / "in/sub/c.txt", folder / "in", folder / "in/sub", folder / "one.txt"}}),
      (Names{"in/sub/c.txt", "in/b.txt", "in/linked/d.txt", "in/linked/deep/e.txt", "in/sub/file.txt"}));
  // Copies and hard links are files of their own.
  fs::create_hard_link(folder / "in/b.txt", folder / "in/b2.txt");
  EXPECT_EQ(names_of(folder, {.inputs = {folder / "in"}}).size(), 6u);
}

TEST(TextFiles, ALinkThatLeadsNowhereIsNamed) {
  const ScratchFolder folder;
  folder.write("in/a.txt", "text");
  fs::create_symlink("gone.txt", folder / "in/lost.md");
  EXPECT_TRUE(mentions(user_error_of([&] { list_text_files({.inputs = {folder / "in"}}); }),
                       {"in/lost.md", "a link to 'gone.txt'", "does not exist"}));
  EXPECT_EQ(names_of(folder, {.inputs = {folder / "in"}, .extensions = {".txt"}}), Names{"in/a.txt"});
  fs::create_symlink("round", folder / "round");
  EXPECT_TRUE(mentions(user_error_of([&] { list_text_files({.inputs = {folder / "round"}}); }), {"circle"}));
  EXPECT_TRUE(mentions(user_error_of([&] { list_text_files({.inputs = {folder / "no"}}); }), {"no such file", "no'"}));
}

TEST(TextFiles, PipesAreRefusedWhenNamed) {
  const ScratchFolder folder;
  folder.write("in/a.txt", "text");
  ASSERT_EQ(mkfifo((folder / "in/pipe").c_str(), 0600), 0);
  EXPECT_TRUE(mentions(user_error_of([&] { list_text_files({.inputs = {folder / "in/pipe"}}); }),
                       {"in/pipe", "is a pipe", "to a file first"}));
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(names_of(folder, {.inputs = {folder / "in"}}), Names{"in/a.txt"});
  EXPECT_TRUE(mentions(::testing::internal::GetCapturedStderr(), {"left out", "in/pipe"}));
}

TEST(TextFiles, OutputIsNoInput) {
  const ScratchFolder folder;
  for (const char* name : {"in/a.txt", "in/out/mine.txt", "in/out/.prepare/lock"}) folder.write(name, "text");
  fs::create_symlink("out", folder / "in/linked");
  const fs::path own = fs::canonical(folder / "in/out/.prepare");
  EXPECT_EQ(
      names_of(folder, {.inputs = {folder / "in"}, .is_output = [&](const fs::path& path) { return path == own; }}),
      (Names{"in/a.txt", "in/linked/mine.txt"}));
}

DocumentKind kind_of(const ScratchFolder& folder, const std::string& name, std::string_view content) {
  return text_kind(folder.write(name, content), {}).kind;
}

TEST(TextKind, NamesSayItInAnyCase) {
  const ScratchFolder folder;
  for (const char* name : {"a.jsonl", "a.JSONL", "a.ndjson", "a.jsonlines", "a.JsonLines"})
    EXPECT_EQ(kind_of(folder, name, "{\"x\": 1}\n"), DocumentKind::kJsonLines) << name;
  for (const char* name : {"a.txt", "a.TXT", "a.md", "README", "a.h", "a.xml"})
    EXPECT_EQ(kind_of(folder, name, "{ text }\n"), DocumentKind::kPlain) << name;
}

TEST(TextKind, ALookAtTheContentSaysTheRest) {
  const ScratchFolder folder;
  const std::string document = "{\"id\": 123456789012345678901234567890, \"text\": \"one\"}\n";
  EXPECT_EQ(kind_of(folder, "a.json", document), DocumentKind::kJsonLines);
  EXPECT_EQ(kind_of(folder, "part-00000", document + document), DocumentKind::kJsonLines);
  EXPECT_EQ(kind_of(folder, "a.txt", "\xef\xbb\xbf\n\n" + document), DocumentKind::kJsonLines);
  EXPECT_EQ(kind_of(folder, "b.json", "{\"body\": \"one\"}\n{\"body\": \"two\"}\n"), DocumentKind::kJsonLines);
  const std::string long_line = "{\"id\": 1, \"text\": \"" + std::string(300000, 'x') + "\"}";
  EXPECT_EQ(kind_of(folder, "long.json", long_line), DocumentKind::kJsonLines);
  EXPECT_EQ(kind_of(folder, "c.json", "{\n  \"name\": \"package\",\n  \"text\": \"x\"\n}\n"), DocumentKind::kPlain);
  EXPECT_EQ(kind_of(folder, "d.json", "{\"name\": \"package\"}\n"), DocumentKind::kPlain);
  EXPECT_EQ(kind_of(folder, "e.json", "[{\"name\": \"one\"}]"), DocumentKind::kPlain);
  EXPECT_EQ(kind_of(folder, "f.cpp", "{\"a\", \"b\"},\n{\"c\", \"d\"},\n"), DocumentKind::kPlain);
  EXPECT_EQ(kind_of(folder, "empty.json", ""), DocumentKind::kPlain);
  // What is given overrules both.
  EXPECT_EQ(text_kind(folder / "a.json", {.kind = DocumentKind::kPlain}).kind, DocumentKind::kPlain);
  EXPECT_EQ(text_kind(folder / "f.cpp", {.kind = DocumentKind::kJsonLines}).kind, DocumentKind::kJsonLines);
}

TEST(TextKind, WhatIsNoTextIsRefusedByWhatItSeemsToBe) {
  const ScratchFolder folder;
  const auto error = [&](const std::string& name, std::string_view content) {
    return user_error_of([&] { kind_of(folder, name, content); });
  };
  EXPECT_TRUE(mentions(error("a.txt", "PK\x03\x04 and so on"), {"a.txt", "not text", "a ZIP archive", "--extension"}));
  std::string tar = "name.txt" + std::string(249, '\0') + "ustar" + std::string(250, '\0');
  EXPECT_TRUE(mentions(error("b", tar), {"a tar archive"}));
  EXPECT_TRUE(mentions(error("c", std::string("PAR1\x15\x04", 6)), {"a Parquet table"}));
  EXPECT_TRUE(mentions(error("d.txt", "\x1f\x8b\x08"), {"gzip data", "end in .gz"}));
  EXPECT_TRUE(mentions(error("e.jsonl", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"),
                       {"Git LFS", "git lfs pull"}));
  EXPECT_TRUE(mentions(error("f.txt", std::string("\xff\xfeh\0i\0", 6)), {"UTF-16"}));
  EXPECT_TRUE(mentions(error("g.txt", std::string("h\0i\0 \0t\0h\0e\0r\0e\0", 16)), {"UTF-16"}));
  EXPECT_TRUE(mentions(error("h.dat", std::string("text, then\0 a zero", 18)), {"binary data (its byte 10 is 0)"}));
  EXPECT_TRUE(mentions(error("i.csv", "id,text\n1,one\n"), {"i.csv", "a table by its name", "--format plain"}));
  EXPECT_TRUE(mentions(error("l.json", "[\n  {\"id\": 1,\n   \"text\": \"one\"},\n"),
                       {"l.json", "one JSON array of documents", "an object a line"}));
  EXPECT_TRUE(mentions(error("j.TSV", "id\ttext\n"), {"j.TSV"}));
  // Words that begin as such files do are text.
  for (const char* text : {"PAR1 is a word", "ORC and goblin", "BZh", "GIF89a is a format", "Obj"})
    EXPECT_EQ(kind_of(folder, "k.txt", text), DocumentKind::kPlain) << text;
  EXPECT_EQ(text_kind(folder / "h.dat", {.kind = DocumentKind::kPlain}).kind, DocumentKind::kPlain);
}

}  // namespace
}  // namespace ttt
