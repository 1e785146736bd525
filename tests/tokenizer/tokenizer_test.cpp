// The tokenizer: lossless for any bytes, deterministic, and clear about text that it cannot take.
#include "tokenizer/tokenizer.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <numeric>
#include <sstream>

#include "base/rng.h"
#include "data/scratch.h"

namespace ttt {
namespace {

// Source code of sorts: nested blocks, indented by four spaces, some by tabs.
std::string program(int functions, std::uint64_t seed) {
  CounterRng rng(seed);
  const char* words[] = {"value", "count", "index", "result", "buffer", "offset", "total", "weight"};
  const auto word = [&] { return std::string(words[rng.next() % 8]); };
  std::string text;
  for (int f = 0; f < functions; ++f) {
    text += "int " + word() + "_" + word() + "(int " + word() + ") {\n";
    text += "    for (int i = 0; i < " + std::to_string(rng.next() % 1000) + "; ++i) {\n";
    text += "        if (" + word() + " > " + word() + ") {\n            " + word() + " += i;\n        }\n    }\n";
    text += f % 5 == 0 ? "\t\treturn " + word() + ";\r\n}\n\n" : "    return " + word() + ";\n}\n\n";
    text += "// caf\xc3\xa9 \xe2\x98\x83\n";
  }
  return text;
}

class TokenizerTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new ScratchFolder;
    folder_->write("text/a.cc", program(800, 1));
    folder_->write("text/b.cc", program(800, 2));
    train_tokenizer(
        {.inputs = {*folder_ / "text"}, .extensions = {}, .output = *folder_ / "t.model", .vocab_size = 420});
    tokenizer_ = new Tokenizer(*folder_ / "t.model");
  }
  static void TearDownTestSuite() {
    delete tokenizer_;
    delete folder_;
  }

  static void expect_round_trip(const std::string& text) {
    const std::vector<std::int32_t> ids = tokenizer_->encode(text);
    EXPECT_EQ(tokenizer_->decode(ids), text);
    std::int64_t bytes = 0;
    for (const std::int32_t id : ids) {
      ASSERT_GT(id, 2) << "unknown or control piece";
      bytes += tokenizer_->token_bytes()[static_cast<std::size_t>(id)];
    }
    EXPECT_EQ(bytes, static_cast<std::int64_t>(text.size()));
  }

  static ScratchFolder* folder_;
  static Tokenizer* tokenizer_;
};
ScratchFolder* TokenizerTest::folder_ = nullptr;
Tokenizer* TokenizerTest::tokenizer_ = nullptr;

TEST_F(TokenizerTest, IdsAreAsDeclared) {
  EXPECT_EQ(tokenizer_->vocab_size(), 420);
  EXPECT_EQ(tokenizer_->bos_id(), 1);
  EXPECT_EQ(tokenizer_->eos_id(), 2);
  EXPECT_EQ(tokenizer_->piece(1), "<s>");
  EXPECT_EQ(tokenizer_->token_bytes()[1], 0);
  EXPECT_EQ(tokenizer_->decode({1, 2}), "");
  EXPECT_EQ(tokenizer_->token_bytes().size(), 420u);
}

TEST_F(TokenizerTest, RoundTripOfOrdinaryAndWeirdText) {
  expect_round_trip(program(20, 3));
  for (const char* text : {"",
                           " ",
                           "  ",
                           "\n",
                           "\n\n\n",
                           "\t",
                           "\t\t\t\t\t\t\t",
                           "\r",
                           "a\r\nb\rc",
                           "   leading",
                           "trailing   ",
                           " a  b   c    d     e",
                           "\n    \n\t \n",
                           "\xef\xbb\xbf"
                           "with a BOM",
                           "a\xe2\x96\x81"
                           "b",
                           "\xe2\x96\x81",
                           " \xe2\x96\x81 \xe2\x96\x81\xe2\x96\x81  ",
                           "\xe2\x96\x85",
                           "<s>",
                           "</s> <unk> <0x0A> <s>",
                           "\\n\\t",
                           "\xe6\xbc\xa2\xe5\xad\x97\xe3\x81\x8b\xe3\x81\xaa",
                           "\xf0\x9f\x98\x80\xf0\x9f\x91\x8d\xf0\x9f\x8f\xbd",
                           "e\xcc\x81 \xc3\xa9 \xef\xac\x81 \xc2\xb2 \xe2\x84\xab",
                           "0123456789",
                           "\xc2\xa0\xe3\x80\x80\xe2\x80\x8b",
                           "\xef\xbf\xbd\xef\xbf\xbf\xf4\x8f\xbf\xbf",
                           "\x01\x02\x7f\x1b[0m"}) {
    SCOPED_TRACE(text);
    expect_round_trip(text);
  }
  expect_round_trip(std::string("a\0b\0\0 c", 7));
}

TEST_F(TokenizerTest, RoundTripOfBytesThatAreNotUtf8) {
  expect_round_trip("a \xff b");
  expect_round_trip("\xed\xa0\x80 \xc0\x80 \xf8 cut \xe2\x96");
  CounterRng rng(5);
  std::string bytes;
  for (int i = 0; i < 3000; ++i) bytes += static_cast<char>(rng.next());
  expect_round_trip(bytes);
}

TEST_F(TokenizerTest, LongTextIsEncodedAsIfInOnePiece) {
  const std::string text = program(400, 9);  // many times the block that is encoded at once
  const std::vector<std::int32_t> whole = tokenizer_->encode(text);
  for (const std::size_t size : {1, 7, 100, 5000}) {
    std::vector<std::int32_t> joined;
    std::string text_again;
    for (const std::string_view part : tokenizer_->segments(text, size)) {
      const std::vector<std::int32_t> ids = tokenizer_->encode(part);
      joined.insert(joined.end(), ids.begin(), ids.end());
      text_again += part;
    }
    EXPECT_EQ(text_again, text);
    EXPECT_EQ(joined, whole) << "parts of " << size;
  }
}

// `size` bytes of characters that are drawn from `letters`, which are parted by spaces there.
std::string without_spaces(std::size_t size, const std::string& letters, std::uint64_t seed) {
  std::vector<std::string> choice;
  std::istringstream in(letters);
  for (std::string letter; in >> letter;) choice.push_back(letter);
  CounterRng rng(seed);
  std::string text;
  while (text.size() < size) text += choice[rng.next() % choice.size()];
  return text;
}

// SentencePiece takes 160 bytes for each byte of what it encodes at once.
TEST_F(TokenizerTest, TextWithoutSpacesIsEncodedInBoundedParts) {
  for (const std::string letters : {"A C G T", "c o u n t v a l ; \xc3\xa9", "\xe6\x96\x87 \xe5\xad\x97 \xe3\x80\x82",
                                    "\xf0\x9f\x98\x80", "\xbf", "a \xe2\x96\x81"}) {
    const std::string text = without_spaces(60000, letters, 3) + " then words " + without_spaces(20000, letters, 4);
    const std::vector<std::int32_t> whole = tokenizer_->encode(text);
    EXPECT_EQ(tokenizer_->decode(whole), text) << letters;
    std::size_t longest = 0;
    for (const std::string_view part : tokenizer_->segments(text, 1)) longest = std::max(longest, part.size());
    EXPECT_LE(longest, std::size_t{(1 << 14) + 4}) << letters;
    // Wherever it is cut first: the parts are a matter of the text alone.
    for (const std::size_t size : {1, 20000, 70000}) {
      std::vector<std::int32_t> joined;
      for (const std::string_view part : tokenizer_->segments(text, size)) {
        const std::vector<std::int32_t> ids = tokenizer_->encode(part, /*continued=*/true);
        joined.insert(joined.end(), ids.begin(), ids.end());
      }
      EXPECT_EQ(joined, whole) << letters << " in parts of " << size;
    }
    // A cut is the same when the text behind it is not yet known.
    const std::size_t cut = tokenizer_->first_cut(text, 30000);
    ASSERT_LT(cut, text.size());
    for (std::size_t known = 30001; known < cut + 40; known += 3) {
      const std::size_t early = tokenizer_->first_cut(std::string_view(text).substr(0, known), 30000);
      EXPECT_TRUE(early == cut || early == std::string_view::npos) << letters << ": " << early << " and " << cut;
    }
  }
}

// Such a cut changes no token where no piece reaches across: SentencePiece alone says the same of the whole text.
TEST_F(TokenizerTest, PartsEndWhereNoPieceReachesAcross) {
  std::string text = without_spaces(60000, "count value return", 5);
  for (std::size_t at = 997; at < text.size(); at += 997) text.insert(at, "\xe2\x98\x83\xe2\x98\x83");  // in no piece
  sentencepiece::SentencePieceProcessor processor;
  ASSERT_TRUE(processor.LoadFromSerializedProto(tokenizer_->bytes()).ok());
  std::vector<int> expected;
  ASSERT_TRUE(processor.Encode(text, &expected).ok());
  EXPECT_EQ(tokenizer_->encode(text), expected);
  EXPECT_GT(tokenizer_->segments(text, 1).size(), 3u);
}

TEST_F(TokenizerTest, IndentationAndLineEndsArePieces) {
  const auto has = [&](const std::string& text) { return tokenizer_->encode(text).size() == 1; };
  EXPECT_TRUE(has("    "));
  EXPECT_TRUE(has("        "));
  EXPECT_TRUE(has("\t\t"));
  EXPECT_TRUE(has("\n"));
  EXPECT_TRUE(has(";\n"));
  EXPECT_EQ(tokenizer_->encode("1234").size(), 4u);
  const std::string text = program(50, 4);
  EXPECT_LT(static_cast<double>(tokenizer_->encode(text).size()) * 2.0, static_cast<double>(text.size()));
}

TEST_F(TokenizerTest, TrainingIsDeterministicAndTakesASpreadSample) {
  TokenizerTraining options{
      .inputs = {*folder_ / "text"}, .extensions = {".cc"}, .output = *folder_ / "again.model", .vocab_size = 420};
  train_tokenizer(options);
  EXPECT_EQ(Tokenizer(options.output).bytes(), tokenizer_->bytes());
  EXPECT_EQ(Tokenizer(options.output).hash(), tokenizer_->hash());
  options.max_bytes = 60000;  // part of both files
  train_tokenizer(options);
  const Tokenizer sampled(options.output);
  EXPECT_NE(sampled.hash(), tokenizer_->hash());
  EXPECT_EQ(sampled.decode(sampled.encode(program(5, 8))), program(5, 8));
  // The second file alone has these words; an eighth of the text holds enough of them.
  const ScratchFolder folder;
  folder.write("a", program(800, 1));
  std::string other;
  for (int i = 0; i < 20000; ++i) other += "zyxwvut ";
  folder.write("b", other);
  train_tokenizer(
      {.inputs = {folder.path()}, .extensions = {}, .output = folder / "m", .vocab_size = 400, .max_bytes = 50000});
  EXPECT_EQ(Tokenizer(folder / "m").encode(" zyxwvut").size(), 1u);
}

TEST_F(TokenizerTest, FromBytesIsTheSameTokenizer) {
  Tokenizer copy = Tokenizer::from_bytes(tokenizer_->bytes(), "copy");
  EXPECT_EQ(copy.hash(), tokenizer_->hash());
  EXPECT_EQ(copy.encode("int x"), tokenizer_->encode("int x"));
}

TEST_F(TokenizerTest, WrongModelsAndIdsAreNamed) {
  EXPECT_TRUE(mentions(user_error_of([&] { Tokenizer t(*folder_ / "absent.model"); }), {"absent.model"}));
  const fs::path garbage = folder_->write("garbage.model", "this is no model");
  EXPECT_TRUE(mentions(user_error_of([&] { Tokenizer t(garbage); }),
                       {"garbage.model", "not a SentencePiece model", "ttt tokenizer train"}));
  EXPECT_TRUE(mentions(user_error_of([&] { Tokenizer::from_bytes("", "empty"); }), {"empty"}));
  EXPECT_TRUE(mentions(user_error_of([&] { tokenizer_->decode({420}); }), {"420"}));
  EXPECT_TRUE(mentions(user_error_of([&] { tokenizer_->decode({-1}); }), {"-1"}));
}

// Llama's model puts a space in front of a text; long texts are encoded in parts all the same.
TEST(TokenizerFromElsewhere, ADummySpaceIsPutInFrontOnce) {
  const ScratchFolder folder;
  folder.write("text.txt", program(400, 3));
  const auto status = sentencepiece::SentencePieceTrainer::Train({{"input", (folder / "text.txt").string()},
                                                                  {"model_prefix", (folder / "m").string()},
                                                                  {"model_type", "bpe"},
                                                                  {"vocab_size", "400"},
                                                                  {"normalization_rule_name", "identity"},
                                                                  {"remove_extra_whitespaces", "false"},
                                                                  {"byte_fallback", "true"},
                                                                  {"minloglevel", "3"}});
  ASSERT_TRUE(status.ok()) << status.ToString();
  sentencepiece::SentencePieceProcessor whole;
  ASSERT_TRUE(whole.Load((folder / "m.model").string()).ok());
  const Tokenizer tokenizer(folder / "m.model");
  CounterRng rng(7);
  for (int round = 0; round < 200; ++round) {
    std::string text;
    const char* words[] = {" ", " ", "  ", "\n", "count", "v", "a caf\xc3\xa9", "\xe2\x98\x83"};
    for (std::uint64_t i = rng.next() % 900; i > 0; --i) text += words[rng.next() % 8];
    std::vector<int> expected;
    ASSERT_TRUE(whole.Encode(text, &expected).ok());
    EXPECT_EQ(tokenizer.encode(text), expected) << '"' << text << '"';
    std::vector<std::int32_t> joined;
    const std::vector<std::string_view> parts = tokenizer.segments(text, 100);
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const std::vector<std::int32_t> ids = tokenizer.encode(parts[i], /*continued=*/i > 0);
      joined.insert(joined.end(), ids.begin(), ids.end());
    }
    EXPECT_EQ(joined, expected);
  }
  EXPECT_GT(tokenizer.segments(program(400, 3), 1000).size(), 10u);
  // Where a part does not begin with a space, none is added.
  for (const std::string letters : {"A C G T", "c o u n t \xe2\x98\x83"}) {
    const std::string text = without_spaces(50000, letters, 6);
    const std::vector<std::int32_t> ids = tokenizer.encode(text);
    std::string joined;
    for (const std::int32_t id : ids) {
      const std::string piece = tokenizer.piece(id);
      if (piece.starts_with("<0x")) {
        joined += static_cast<char>(std::stoi(piece.substr(3, 2), nullptr, 16));
      } else {
        joined += piece;
      }
    }
    EXPECT_EQ(joined, "\xe2\x96\x81" + text);
    EXPECT_GT(tokenizer.segments(text, 1).size(), 3u);
  }
}

TEST(TokenizerTraining, TextThatCannotBeUsedIsNamed) {
  const ScratchFolder folder;
  const auto train = [&](const std::string& input, std::int64_t vocab_size) {
    return user_error_of([&] {
      train_tokenizer(
          {.inputs = {folder / input}, .extensions = {}, .output = folder / "out.model", .vocab_size = vocab_size});
    });
  };
  folder.write("empty/a.txt", "");
  fs::create_directories(folder / "nothing");
  folder.write("latin1.txt", "caf\xe9 au lait");
  folder.write("small.txt", "a b c d e f\n");
  EXPECT_TRUE(mentions(train("empty", 400), {"empty", "a.txt"}));
  EXPECT_TRUE(mentions(train("nothing", 400), {"no files", "nothing"}));
  EXPECT_TRUE(mentions(train("missing", 400), {"missing"}));
  EXPECT_TRUE(mentions(train("latin1.txt", 400), {"latin1.txt", "not UTF-8", "byte 3", "0xE9"}));
  EXPECT_TRUE(mentions(train("small.txt", 4096), {"4096", "too large", "--vocab-size"}));
  EXPECT_TRUE(mentions(train("small.txt", 200), {"200"}));
  EXPECT_FALSE(fs::exists(folder / "out.model"));
}

// What the message advises is taken: text of few characters, whose digits are pieces of their own, fills only few ids.
TEST(TokenizerTraining, AdviceOnTheVocabularyCanBeFollowed) {
  const ScratchFolder folder;
  CounterRng rng(3);
  std::string numbers, letters = "ab ba\n";
  for (int i = 0; i < 5000; ++i) numbers += cat(rng.next() % 1'000'000'000, " ");
  folder.write("numbers.txt", numbers);
  folder.write("letters.txt", letters);
  folder.write("one.txt", "a");
  for (const char* name : {"numbers.txt", "letters.txt", "one.txt"}) {
    const auto train = [&](std::int64_t vocab_size) {
      return user_error_of([&] {
        train_tokenizer(
            {.inputs = {folder / name}, .extensions = {}, .output = folder / "m", .vocab_size = vocab_size});
      });
    };
    const std::string message = train(350), advice = "give --vocab-size ";
    ASSERT_TRUE(mentions(message, {"350", "too large", advice})) << name;
    const std::int64_t size = std::stoll(message.substr(message.find(advice) + advice.size()));
    EXPECT_FALSE(fs::exists(folder / "m")) << name;
    train_tokenizer({.inputs = {folder / name}, .extensions = {}, .output = folder / "m", .vocab_size = size});
    const Tokenizer tokenizer(folder / "m");
    EXPECT_EQ(tokenizer.vocab_size(), size) << name;
    EXPECT_EQ(tokenizer.decode(tokenizer.encode("12 ab\n\t\xff")), "12 ab\n\t\xff") << name;
    fs::remove(folder / "m");
  }
  EXPECT_TRUE(mentions(
      user_error_of([&] {
        train_tokenizer({.inputs = {folder / "one.txt"}, .extensions = {}, .output = folder / "m", .vocab_size = 264});
      }),
      {"264 pieces is not possible", "265 to 1000000"}));
}

// A model of a text without any space still gives every text back.
TEST(TokenizerTraining, TextWithoutSpaces) {
  const ScratchFolder folder;
  CounterRng rng(5);
  std::string bases;
  for (int i = 0; i < 20000; ++i) bases += "ACGT"[rng.next() % 4];
  folder.write("dna.txt", bases);
  train_tokenizer({.inputs = {folder / "dna.txt"}, .extensions = {}, .output = folder / "m", .vocab_size = 300});
  const Tokenizer tokenizer(folder / "m");
  for (const std::string text : {"ACGTTGCA", "A C  G\n T", "\xff\t x \xe2\x96\x81"})
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  EXPECT_LT(tokenizer.encode(bases).size(), bases.size() / 2);
}

TEST(TokenizerTraining, TooSmallAVocabularyIsExplained) {
  const ScratchFolder folder;
  std::string text;  // 100 different characters
  for (int repeat = 0; repeat < 50; ++repeat) {
    for (int i = 0; i < 100; ++i) text += {'\xe4', static_cast<char>(0xb8 + i / 64), static_cast<char>(0x80 + i % 64)};
    text += "\n";
  }
  folder.write("han.txt", text);
  const std::string message = user_error_of([&] {
    train_tokenizer({.inputs = {folder / "han.txt"}, .extensions = {}, .output = folder / "m", .vocab_size = 310});
  });
  EXPECT_TRUE(mentions(message, {"310", "too small", "--vocab-size"}));
}

}  // namespace
}  // namespace ttt
