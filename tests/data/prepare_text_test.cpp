// Text to data sets: documents whole and in order between BOS and EOS, the same for any number of threads.
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <set>

#include "data/dataset.h"
#include "data/domains.h"
#include "data/manifest.h"
#include "data/prepare.h"
#include "data/scratch.h"
#include "tokenizer/tokenizer.h"

namespace ttt {
namespace {

class PrepareTextTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string text;
    for (int i = 0; i < 500; ++i) text += "the quick brown fox number " + std::to_string(i) + "\n    jumps over it;\n";
    folder_.write("train.txt", text);
    train_tokenizer(
        {.inputs = {folder_ / "train.txt"}, .extensions = {}, .output = folder_ / "t.model", .vocab_size = 330});
  }

  // `count` documents text/doc_NNN.txt, all different.
  void write_documents(int count) {
    for (int i = 0; i < count; ++i) folder_.write(name_of(i), text_of(i));
  }
  static std::string name_of(int i) { return "text/doc_" + std::to_string(1000 + i) + ".txt"; }
  static std::string text_of(int i) {
    std::string text = "document " + std::to_string(i) + "\n";
    for (int line = 0; line < i % 7; ++line) text += "  the fox of line " + std::to_string(line) + "\n";
    return text;
  }

  PrepareText options(const std::string& output, double valid_fraction = 0) const {
    return {.inputs = {folder_ / "text"},
            .extensions = {},
            .tokenizer = folder_ / "t.model",
            .output = folder_ / output,
            .valid_fraction = valid_fraction,
            .threads = 2};
  }

  // The documents' texts, by BOS and EOS.
  std::vector<std::string> documents_of(const fs::path& directory) const {
    const Dataset data(directory);
    const Tokenizer tokenizer(data.tokenizer_path());
    std::vector<std::string> documents;
    std::vector<std::int32_t> open;
    bool inside = false;
    for (const std::int32_t id : data.tokens(0, data.num_tokens())) {
      if (id == tokenizer.bos_id()) {
        EXPECT_FALSE(inside);
        inside = true;
      } else if (id == tokenizer.eos_id()) {
        EXPECT_TRUE(inside);
        inside = false;
        documents.push_back(tokenizer.decode(open));
        open.clear();
      } else {
        EXPECT_TRUE(inside);
        open.push_back(id);
      }
    }
    EXPECT_FALSE(inside);
    EXPECT_EQ(data.num_documents(), static_cast<std::int64_t>(documents.size()));
    return documents;
  }

  ScratchFolder folder_;
};

TEST_F(PrepareTextTest, DocumentsStandInOrderBetweenBosAndEos) {
  write_documents(30);
  folder_.write("text/doc_1005b.txt", "");  // empty: left out
  prepare_text(options("set"));
  std::vector<std::string> expected;
  std::int64_t bytes = 0;
  for (int i = 0; i < 30; ++i) {
    expected.push_back(text_of(i));
    bytes += static_cast<std::int64_t>(text_of(i).size());
  }
  EXPECT_EQ(documents_of(folder_ / "set"), expected);
  const DatasetManifest manifest = read_manifest(folder_ / "set");
  EXPECT_EQ(manifest.text_bytes, bytes);
  EXPECT_EQ(manifest.sources.size(), 30u);
  EXPECT_EQ(manifest.sources[3].path, (folder_ / name_of(3)).string());
  EXPECT_EQ(manifest.bos_id, 1);
  EXPECT_EQ(manifest.eos_id, 2);
  EXPECT_EQ(manifest.tokenizer_xxh3, Tokenizer(folder_ / "t.model").hash());
  EXPECT_TRUE(Dataset(folder_ / "set").verify().empty());
}

TEST_F(PrepareTextTest, TheNumberOfThreadsDoesNotMatter) {
  write_documents(40);
  std::string large;  // several segments
  for (int i = 0; i < 60000; ++i) large += "the quick fox number " + std::to_string(i) + (i % 9 == 0 ? "\n" : " over ");
  folder_.write("text/large.txt", large);
  PrepareText one = options("one"), three = options("three");
  one.threads = 1;
  three.threads = 3;
  three.shard_tokens = 1000;
  prepare_text(one);
  prepare_text(three);
  const Dataset a(folder_ / "one"), b(folder_ / "three");
  ASSERT_EQ(a.num_tokens(), b.num_tokens());
  EXPECT_EQ(a.tokens(0, a.num_tokens()), b.tokens(0, b.num_tokens()));
  EXPECT_EQ(documents_of(folder_ / "one").back(), large);
}

TEST_F(PrepareTextTest, ASplitDealsOutWholeDocumentsByContent) {
  write_documents(200);
  prepare_text(options("split", 0.2));
  const std::vector<std::string> train = documents_of(folder_ / "split/train"),
                                 valid = documents_of(folder_ / "split/valid");
  EXPECT_EQ(train.size() + valid.size(), 200u);
  EXPECT_GT(valid.size(), 15u);  // 40 expected, standard deviation 5.7
  EXPECT_LT(valid.size(), 65u);
  std::set<std::string> all(train.begin(), train.end());
  all.insert(valid.begin(), valid.end());
  EXPECT_EQ(all.size(), 200u);
  // Another name or order of files changes nothing for a document.
  for (int i = 0; i < 200; ++i) fs::rename(folder_ / name_of(i), folder_ / ("text/z_" + std::to_string(9999 - i)));
  prepare_text(options("again", 0.2));
  const std::vector<std::string> again = documents_of(folder_ / "again/valid");
  EXPECT_EQ(std::set<std::string>(again.begin(), again.end()), std::set<std::string>(valid.begin(), valid.end()));
}

TEST_F(PrepareTextTest, ASingleTextIsSplitAtALineEnd) {
  std::string book;
  for (int i = 0; i < 400; ++i) book += "line " + std::to_string(i) + " of the book\n";
  folder_.write("text/book.txt", book);
  prepare_text(options("split", 0.1));
  const std::vector<std::string> train = documents_of(folder_ / "split/train"),
                                 valid = documents_of(folder_ / "split/valid");
  ASSERT_EQ(train.size(), 1u);
  ASSERT_EQ(valid.size(), 1u);
  EXPECT_EQ(train[0] + valid[0], book);
  EXPECT_EQ(train[0].back(), '\n');
  EXPECT_NEAR(static_cast<double>(valid[0].size()) / static_cast<double>(book.size()), 0.1, 0.01);
}

TEST_F(PrepareTextTest, SeparatorsAndJsonLinesPartDocuments) {
  folder_.write("text/a.txt", "one\n<|endoftext|>\ntwo\n");
  folder_.write("text/b.jsonl", "{\"content\": \"three\"}\n{\"content\": \"\"}\n{\"content\": \"four\"}\n");
  PrepareText both = options("set");
  both.format.separator = "<|endoftext|>";
  both.format.text_field = "content";
  prepare_text(both);
  EXPECT_EQ(documents_of(folder_ / "set"), (std::vector<std::string>{"one\n", "two\n", "three", "four"}));
  const DatasetManifest manifest = read_manifest(folder_ / "set");
  ASSERT_EQ(manifest.sources.size(), 2u);
  EXPECT_EQ(manifest.sources[0].bytes, 8);
  EXPECT_EQ(manifest.sources[1].bytes, 9);
}

TEST_F(PrepareTextTest, EveryDomainHasSetsOfItsOwn) {
  std::string lines;
  for (int i = 0; i < 300; ++i) {
    lines += "{\"text\": \"fox " + std::to_string(i) + "\", \"meta\": {\"set\": \"" +
             (i % 3 == 0 ? "Code" : "Web (new)") + "\"}}\n";
  }
  folder_.write("text/all.jsonl", lines);
  PrepareText by_field = options("set", 0.2);
  by_field.format.domain_field = "meta.set";
  prepare_text(by_field);
  const DomainIndex index = read_domains(folder_ / "set");
  ASSERT_EQ(index.domains.size(), 2u);
  EXPECT_EQ(index.domains[0].name, "Code");
  EXPECT_EQ(index.domains[1].name, "Web (new)");
  EXPECT_EQ(index.domains[1].train->path, "Web__new_/train");
  EXPECT_EQ(read_manifest(folder_ / "set/Web__new_/train").domain, "Web (new)");
  std::int64_t of_code = 0;
  for (const auto& set : {index.domains[0].train, index.domains[0].valid}) {
    const DatasetManifest manifest = read_manifest(folder_ / "set" / set->path);
    EXPECT_EQ(manifest.num_documents, set->documents);
    EXPECT_EQ(manifest.num_tokens, set->tokens);
    EXPECT_EQ(manifest.text_bytes, set->text_bytes);
    of_code += set->documents;
  }
  EXPECT_EQ(of_code, 100);
  EXPECT_EQ(documents_of(folder_ / "set/Code/train").front().substr(0, 4), "fox ");

  // By file, without validation; replacing removes the domains that are no more.
  folder_.write("text/other.txt", "the fox");
  PrepareText by_file = options("set");
  by_file.domain_by = DomainBy::kFile;
  EXPECT_TRUE(
      mentions(user_error_of([&] { prepare_text(by_file); }), {"already holds data sets by domain", "--force"}));
  by_file.force = true;
  prepare_text(by_file);
  EXPECT_EQ(documents_of(folder_ / "set/other"), std::vector<std::string>{"the fox"});
  EXPECT_EQ(documents_of(folder_ / "set/all").size(), 300u);
  EXPECT_FALSE(fs::exists(folder_ / "set/Code/train"));
  EXPECT_EQ(read_domains(folder_ / "set").domains.size(), 2u);
}

TEST_F(PrepareTextTest, DomainsThatCannotBeFoldersAreNamed) {
  const auto error = [&](const std::string& lines) {
    folder_.write("text/a.jsonl", lines);
    PrepareText by_field = options("set");
    by_field.format.domain_field = "set";
    return user_error_of([&] { prepare_text(by_field); });
  };
  EXPECT_TRUE(
      mentions(error("{\"text\":\"a\",\"set\":\"x y\"}\n{\"text\":\"b\",\"set\":\"x_y\"}\n"), {"'x y'", "'x_y'"}));
  std::string many;
  for (int i = 0; i < 70; ++i) many += "{\"text\":\"a\",\"set\":\"" + std::to_string(i) + "\"}\n";
  EXPECT_TRUE(mentions(error(many), {"more than 64 domains"}));
  EXPECT_TRUE(mentions(error("{\"text\":\"a\",\"set\":null}\n"), {"a.jsonl' line 1", "'set' is null"}));
  EXPECT_FALSE(fs::exists(folder_ / "set"));
}

TEST_F(PrepareTextTest, ATextWithoutSpacesIsCutWhereItMust) {
  std::string text;
  while (text.size() < 2500000) text += "\xe2\x98\x83x";
  folder_.write("text/long.txt", text);
  prepare_text(options("set"));
  EXPECT_EQ(documents_of(folder_ / "set"), std::vector<std::string>{text});
}

// SentencePiece's own defaults fold characters and spaces, so that no place to cut is known to be harmless.
TEST_F(PrepareTextTest, ATokenizerThatChangesItsTextSeesPiecesOfLines) {
  const auto status = sentencepiece::SentencePieceTrainer::Train({{"input", (folder_ / "train.txt").string()},
                                                                  {"model_prefix", (folder_ / "folding").string()},
                                                                  {"model_type", "bpe"},
                                                                  {"vocab_size", "60"},
                                                                  {"minloglevel", "3"}});
  ASSERT_TRUE(status.ok()) << status.ToString();
  ASSERT_FALSE(Tokenizer(folder_ / "folding.model").cuts_text());
  std::string text;
  for (int i = 0; text.size() < 700000; ++i) text += "the  fox number " + std::to_string(i) + "\n";
  folder_.write("text/long.txt", text);
  PrepareText one = options("one"), three = options("three");
  for (PrepareText* each : {&one, &three}) each->tokenizer = folder_ / "folding.model";
  one.threads = 1;
  three.threads = 3;
  prepare_text(one);
  prepare_text(three);
  const Dataset a(folder_ / "one"), b(folder_ / "three");
  EXPECT_EQ(a.num_documents(), 1);
  EXPECT_EQ(read_manifest(folder_ / "one").text_bytes, static_cast<std::int64_t>(text.size()));
  EXPECT_EQ(a.tokens(0, a.num_tokens()), b.tokens(0, b.num_tokens()));
  // Cut at line ends alone, where nothing is lost but a space that such a model adds anew.
  std::size_t numbers = 0;
  const std::string decoded = documents_of(folder_ / "one").at(0);
  for (std::size_t at = decoded.find("number"); at != decoded.npos; at = decoded.find("number", at + 1)) ++numbers;
  EXPECT_EQ(numbers, static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')));
}

TEST_F(PrepareTextTest, WhatIsLeftOutIsCounted) {
  folder_.write("text/a.jsonl", "{\"text\": \"\"}\n{\"text\": \"one \\ud83d\"}\n{\"text\": \"two\", \"id\": 1e400}\n");
  folder_.write("text/b.txt", "");
  folder_.write("text/c.txt", "three\n%\n%\nfour\n");
  PrepareText with = options("set");
  with.format.separator = "%";
  const DocumentCounts counts = prepare_text(with);
  EXPECT_EQ(counts.empty, 3);
  EXPECT_EQ(counts.replaced, 1);
  EXPECT_TRUE(counts.separated);
  EXPECT_EQ(documents_of(folder_ / "set"), (std::vector<std::string>{"one \xef\xbf\xbd", "two", "three\n", "four\n"}));
}

TEST_F(PrepareTextTest, ASeparatorThatPartsNothingIsWarnedOf) {
  folder_.write("text/a.txt", "one <|end|> two");
  PrepareText with = options("set");
  with.format.separator = "<|end|>";
  ::testing::internal::CaptureStderr();
  prepare_text(with);
  EXPECT_TRUE(mentions(::testing::internal::GetCapturedStderr(), {"no line", "'<|end|>'"}));
}

// A folder that is its own output's: prepared again, it is the same input.
TEST_F(PrepareTextTest, TheOutputMayLieWithinTheInput) {
  write_documents(5);
  fs::copy(folder_ / "t.model", folder_ / "text/t.model");
  folder_.write("text/out/notes.txt", "mine");
  PrepareText within = options("text/out");
  within.tokenizer = folder_ / "text/t.model";
  within.valid_fraction = 0.3;
  for (const bool again : {false, true}) {
    within.force = again;
    prepare_text(within);
    std::vector<std::string> all = documents_of(folder_ / "text/out/train");
    for (const std::string& text : documents_of(folder_ / "text/out/valid")) all.push_back(text);
    std::string joined;
    for (const std::string& text : all) joined += text;
    std::size_t bytes = 4;
    for (int i = 0; i < 5; ++i) bytes += text_of(i).size();
    EXPECT_EQ(joined.size(), bytes) << again;
  }
  fs::remove(folder_ / "text/t.model");
  PrepareText here = options("text");  // the input itself
  here.tokenizer = folder_ / "t.model";
  prepare_text(here);
  here.force = true;
  prepare_text(here);
  EXPECT_TRUE(Dataset(folder_ / "text").verify().empty());
}

TEST_F(PrepareTextTest, AByteOrderMarkDoesNotMoveTheCutOfASingleText) {
  std::string book;
  for (int i = 0; i < 400; ++i) book += "line " + std::to_string(i) + " of the book\n";
  folder_.write("text/book.txt", "\xef\xbb\xbf" + book);
  prepare_text(options("split", 0.1));
  const std::vector<std::string> train = documents_of(folder_ / "split/train"),
                                 valid = documents_of(folder_ / "split/valid");
  ASSERT_EQ(train.size(), 1u);
  ASSERT_EQ(valid.size(), 1u);
  EXPECT_EQ(train[0] + valid[0], book);
  EXPECT_EQ(train[0].back(), '\n');
}

TEST_F(PrepareTextTest, ExtensionsPickFilesOfFoldersOnly) {
  folder_.write("text/a.h", "header");
  folder_.write("text/a.cc", "source");
  folder_.write("other.cc", "named");
  PrepareText with = options("set");
  with.inputs.push_back(folder_ / "other.cc");
  with.extensions = {".h"};
  prepare_text(with);
  EXPECT_EQ(documents_of(folder_ / "set"), (std::vector<std::string>{"header", "named"}));
}

TEST_F(PrepareTextTest, TextThatCannotBeUsedIsNamedAndNothingIsWritten) {
  const auto prepare = [&](const PrepareText& o) { return user_error_of([&] { prepare_text(o); }); };
  EXPECT_TRUE(mentions(prepare(options("set")), {"text"}));  // missing
  folder_.write("text/empty.txt", "");
  EXPECT_TRUE(mentions(prepare(options("set")), {"empty.txt", "is empty"}));
  write_documents(5);
  folder_.write("text/doc_1003x.txt", "good bytes, then \xe9\n");
  EXPECT_TRUE(mentions(prepare(options("set")), {"doc_1003x.txt", "not UTF-8", "byte 17", "0xE9"}));
  EXPECT_FALSE(fs::exists(folder_ / "set"));
  fs::remove(folder_ / "text/doc_1003x.txt");
  PrepareText other = options("set");
  other.tokenizer = folder_ / "absent.model";
  EXPECT_TRUE(mentions(prepare(other), {"absent.model"}));
  EXPECT_TRUE(mentions(prepare(options("set", 1.0)), {"--valid-fraction"}));
  EXPECT_TRUE(mentions(prepare(options("set", -0.1)), {"--valid-fraction"}));

  prepare_text(options("set"));
  const std::string fingerprint = Dataset(folder_ / "set").fingerprint();
  EXPECT_TRUE(mentions(prepare(options("set")), {"already holds a data set", "--force"}));
  PrepareText forced = options("set");
  forced.force = true;
  folder_.write("text/doc_1003x.txt", "bad \xff");
  EXPECT_TRUE(mentions(prepare(forced), {"doc_1003x.txt"}));
  EXPECT_TRUE(Dataset(folder_ / "set").verify().empty());  // an error leaves the old set whole even then
  EXPECT_EQ(Dataset(folder_ / "set").fingerprint(), fingerprint);
  fs::remove(folder_ / "text/doc_1003x.txt");
  fs::remove(folder_ / name_of(0));
  prepare_text(forced);
  EXPECT_NE(Dataset(folder_ / "set").fingerprint(), fingerprint);
}

}  // namespace
}  // namespace ttt
