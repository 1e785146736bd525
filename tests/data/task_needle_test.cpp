// Needles: samples decoded to text, and answered by looking for the sentences in it.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "data/scratch.h"
#include "data/task_testing.h"
#include "tokenizer/tokenizer.h"

namespace ttt {
namespace {

// Samples decoded to text, and answered by looking for the sentences in it.
TEST(Task, NeedlesStandInTheTextAndAreAskedFor) {
  const ScratchFolder folder;
  std::string book;
  for (int i = 0; i < 3000; ++i) book += cat("The ", i * 7919 % 1000, " ships of line ", i, " sailed on.\n");
  train_tokenizer(
      {.inputs = {folder.write("book.txt", book)}, .extensions = {}, .output = folder / "t.model", .vocab_size = 320});
  const Tokenizer tokenizer(folder / "t.model");
  const TaskText text{&tokenizer, tokenizer.encode(book)};
  const auto after = [](const std::string& whole, const std::string& before) {
    const std::size_t at = whole.find(before);
    EXPECT_NE(at, std::string::npos) << before;
    return at == std::string::npos ? std::string() : whole.substr(at + before.size());
  };
  std::set<std::size_t> depths;
  for (const std::string kind : {"single", "multi_key", "multi_value", "variable_tracking"}) {
    TaskSettings s("needle", {"length=500", "kind=" + kind});
    s.set_text(text);
    for (int i = 0; i < (kind == "single" ? 150 : 30); ++i) {
      const TaskSample sample = task_sample(s, 2, i);
      ASSERT_EQ(sample.tokens.size(), 500u);
      EXPECT_EQ(sample.tokens[0], tokenizer.bos_id());
      ASSERT_EQ(answers_of(sample).size(), 1u);
      EXPECT_EQ(answers_of(sample)[0].back(), 499u);
      const std::string answer = tokenizer.decode(answer_tokens(sample));
      const std::string read = tokenizer.decode(part(sample, 1, answers_of(sample)[0].front()));
      const std::string question = read.substr(read.rfind('\n') + 1), story = read.substr(0, read.rfind('\n'));
      std::string expected;
      if (kind == "variable_tracking") {
        EXPECT_EQ(sample.items, 4u);
        const std::string value = after(question, "assigned the value ").substr(0, 5);
        std::string name = after(story, "VAR ").substr(0, 5);
        EXPECT_NE(story.find("VAR " + name + " = " + value + "\n"), std::string::npos);
        expected = name;
        for (std::size_t at; (at = story.find(" = VAR " + name + "\n")) != std::string::npos;) {
          name = story.substr(at - 5, 5);
          expected += ", " + name;
        }
        EXPECT_EQ(std::count(expected.begin(), expected.end(), ','), 3);
      } else {
        const std::string key = after(question, " for ").substr(0, after(question, " for ").find(' '));
        const std::string sentence = "One of the special magic numbers for " + key + " is: ";
        for (std::size_t at = story.find(sentence); at != std::string::npos; at = story.find(sentence, at + 1)) {
          const std::string value = story.substr(at + sentence.size(), 7);
          EXPECT_EQ(story[at + sentence.size() + 7], '.');
          expected += (expected.empty() ? "" : ", ") + value;
          if (kind == "single") depths.insert(at * 39 / (story.size() - 60));
        }
        EXPECT_EQ(std::count(expected.begin(), expected.end(), ','), kind == "multi_value" ? 3 : 0);
      }
      EXPECT_EQ(answer, " " + expected + ".") << read;
      // Without the needles it is a stretch of the book.
      std::string rest = story;
      for (const char* needle : {"\nOne of the special magic", "\nVAR "}) {
        for (std::size_t at; (at = rest.find(needle)) != std::string::npos;)
          rest.erase(at, rest.find('\n', at + 1) - at + 1);
      }
      EXPECT_NE(book.find(rest), std::string::npos) << rest;
    }
  }
  EXPECT_GT(depths.size(), 30u);
}

}  // namespace
}  // namespace ttt
