// Needles in a haystack, after RULER (arXiv 2404.06654): sentences hidden in the user's own text and asked for at its
// end.
//
//     single             One of the special magic numbers for KEY is: NUMBER.   Seven digits, at one of 40 depths.
//     multi_key          several keys with a number each, one of which is asked for
//     multi_value        one key with several numbers, all of which are asked for, in the order of the text
//     variable_tracking  VAR ABCDE = 12345, VAR FGHIJ = VAR ABCDE, ..: all names that have the number, in that order
//
// A sample: BOS, the text with its needles, the question, the answer; the answer alone is scored.
#include <algorithm>

#include "base/error.h"
#include "data/task.h"
#include "tokenizer/tokenizer.h"

namespace ttt {
namespace {

constexpr std::int64_t kDepths = 40;
constexpr std::size_t kSearch = 64;  // tokens within which a word's beginning is looked for

const char* const kSingle = "single";
const char* const kMultiKey = "multi_key";
const char* const kMultiValue = "multi_value";
const char* const kTracking = "variable_tracking";

constexpr const char* kAdjectives[] = {
    "able",   "amber", "ancient", "arctic", "awake", "bare",   "basic",  "bitter", "blank", "blue",  "bold",
    "bright", "broad", "calm",    "clean",  "clear", "clever", "cold",   "cool",   "crisp", "curly", "damp",
    "dark",   "deep",  "dense",   "dry",    "dusty", "eager",  "early",  "even",   "faint", "fair",  "famous",
    "fast",   "fine",  "firm",    "flat",   "fresh", "full",   "gentle", "glad",   "grand", "green", "happy",
    "hollow", "huge",  "icy",     "ideal",  "keen",  "kind",   "large",  "late",   "lazy",  "light"};
constexpr const char* kNouns[] = {
    "anchor", "apple",   "arrow",  "badge",   "basket", "beacon", "bell",   "bench",  "bird",   "boat",   "bottle",
    "bridge", "brush",   "bucket", "button",  "cabin",  "candle", "canyon", "castle", "chair",  "chapel", "circle",
    "clock",  "cloud",   "coin",   "copper",  "cradle", "desert", "door",   "dragon", "drum",   "eagle",  "engine",
    "falcon", "feather", "fence",  "field",   "flute",  "forest", "garden", "glove",  "hammer", "harbor", "island",
    "jacket", "kettle",  "ladder", "lantern", "lemon",  "marble", "meadow", "mirror", "needle", "orchard"};

class Needle : public Task {
 public:
  Needle()
      : Task("needle",
             "sentences hidden in the text of --input, asked for at the end: the answer is scored (needs --tokenizer)",
             {{"length", "1024", "tokens of a sample", 64, 1 << 24},
              {"kind", kSingle, "", 0, 0, {kSingle, kMultiKey, kMultiValue, kTracking}},
              {"needles", "0", "keys, numbers or names; 0: 1 of kind single, else 4", 0, 256}}) {}

  bool needs_text() const override { return true; }

  void check(const TaskSettings& s) const override {
    const std::int64_t n = s["needles"];
    if (s.word("kind") == kSingle && n > 1)
      user_error("task needle: the kind single has one needle, not ", n, "; give another --set kind");
    if (s.word("kind") != kSingle && n == 1)
      user_error("task needle: the kind ", s.word("kind"), " has several needles; give at least 2");
  }
  std::int64_t vocab_size(const TaskSettings& s) const override { return s.text().tokenizer->vocab_size(); }
  std::int64_t sample_tokens(const TaskSettings& s) const override { return s["length"]; }

  TaskSample generate(const TaskSettings& s, CounterRng& rng) const override {
    const TaskText& text = s.text();
    const Story story = write_story(s, rng);
    const auto encode = [&](const std::string& part) { return text.tokenizer->encode(part, /*continued=*/true); };
    std::vector<std::vector<std::int32_t>> needles;
    const std::vector<std::int32_t> question = encode(story.question), answer = encode(story.answer);
    std::int64_t room = s["length"] - 1 - static_cast<std::int64_t>(question.size() + answer.size());
    for (const std::string& needle : story.needles) {
      needles.push_back(encode("\n" + needle + "\n"));
      room -= static_cast<std::int64_t>(needles.back().size());
    }
    if (room < 1) {
      user_error("task needle: a length of ", s["length"], " has no room for ", needles.size(),
                 needles.size() == 1 ? " needle" : " needles", " and the question; give at least ",
                 s["length"] + 1 - room);
    }
    const auto all = static_cast<std::int64_t>(text.haystack.size());
    if (room > all) {
      user_error("task needle: the text of --input has ", all, " tokens, too few for samples of ", s["length"],
                 "; give more text, or a shorter length");
    }
    const std::int64_t begin = draw_below(rng, all - room + 1);
    const std::vector<std::int32_t> hay(text.haystack.begin() + begin, text.haystack.begin() + begin + room);
    std::vector<std::size_t> places;  // in the hay, before which needles stand
    for (std::size_t i = 0; i < needles.size(); ++i)
      places.push_back(word_at(text, hay, draw_below(rng, kDepths) * room / (kDepths - 1)));
    std::sort(places.begin(), places.end());  // needles stand in the order of the story

    TaskSample sample;
    sample.items = static_cast<std::uint32_t>(needles.size());
    sample.add(text.tokenizer->bos_id());
    std::size_t next = 0;
    for (std::size_t t = 0; t <= hay.size(); ++t) {
      for (; next < places.size() && places[next] == t; ++next)
        for (const std::int32_t id : needles[next]) sample.add(id);
      if (t < hay.size()) sample.add(hay[t]);
    }
    for (const std::int32_t id : question) sample.add(id);
    sample.answer({answer.begin(), answer.end()});
    return sample;
  }

 private:
  struct Story {
    std::vector<std::string> needles;
    std::string question, answer;
  };

  // The place of the next word at or after `place`, if there is one near.
  static std::size_t word_at(const TaskText& text, const std::vector<std::int32_t>& hay, std::int64_t place) {
    const auto first = static_cast<std::size_t>(place);
    for (std::size_t t = first; t < std::min(hay.size(), first + kSearch); ++t) {
      const std::string piece = text.tokenizer->piece(hay[t]);
      if (piece.starts_with("\xE2\x96\x81") || piece.starts_with(" ") || piece.starts_with("\n")) return t;
    }
    return first;
  }

  static std::string number(CounterRng& rng, int digits) {
    std::string text;
    for (int i = 0; i < digits; ++i)
      text += static_cast<char>('0' + (i == 0 ? draw_between(rng, 1, 9) : draw_below(rng, 10)));
    return text;
  }

  static std::vector<std::string> different_keys(CounterRng& rng, std::int64_t count) {
    const auto adjectives = static_cast<std::int64_t>(std::size(kAdjectives)),
               nouns = static_cast<std::int64_t>(std::size(kNouns));
    std::vector<std::string> keys;
    for (const std::int64_t pair : draw_different(rng, 0, adjectives * nouns, count))
      keys.push_back(cat(kAdjectives[pair / nouns], "-", kNouns[pair % nouns]));
    return keys;
  }

  static std::vector<std::string> different_names(CounterRng& rng, std::int64_t count) {
    std::vector<std::string> names;
    while (static_cast<std::int64_t>(names.size()) < count) {
      std::string name;
      for (int i = 0; i < 5; ++i) name += static_cast<char>('A' + draw_below(rng, 26));
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
    return names;
  }

  static Story write_story(const TaskSettings& s, CounterRng& rng) {
    const std::string& kind = s.word("kind");
    const std::int64_t n = s["needles"] > 0 ? s["needles"] : kind == kSingle ? 1 : 4;
    Story story;
    if (kind == kTracking) {
      const std::vector<std::string> names = different_names(rng, n);
      const std::string value = number(rng, 5);
      std::string list;
      for (std::size_t i = 0; i < names.size(); ++i) {
        story.needles.push_back(i == 0 ? cat("VAR ", names[i], " = ", value)
                                       : cat("VAR ", names[i], " = VAR ", names[i - 1]));
        list += (i == 0 ? " " : ", ") + names[i];
      }
      story.question = cat("\nQuestion: Find all variables that are assigned the value ", value,
                           " in the text above. Answer: the variables are:");
      story.answer = list + ".";
      return story;
    }
    const std::vector<std::string> keys = different_keys(rng, kind == kMultiValue ? 1 : n);
    std::vector<std::string> values;
    while (static_cast<std::int64_t>(values.size()) < n) {
      const std::string value = number(rng, 7);
      if (std::find(values.begin(), values.end(), value) == values.end()) values.push_back(value);
    }
    const auto key_of = [&](std::size_t i) { return kind == kMultiValue ? keys[0] : keys[i]; };
    for (std::size_t i = 0; i < values.size(); ++i)
      story.needles.push_back(cat("One of the special magic numbers for ", key_of(i), " is: ", values[i], "."));
    const auto asked = static_cast<std::size_t>(kind == kMultiKey ? draw_below(rng, n) : 0);
    const bool several = kind == kMultiValue;
    story.question =
        cat("\nWhat ", several ? "are all the special magic numbers" : "is the special magic number", " for ",
            key_of(asked), " mentioned in the provided text? The special magic number", several ? "s" : "", " for ",
            key_of(asked), " mentioned in the provided text ", several ? "are" : "is");
    for (std::size_t i = 0; i < (several ? values.size() : 1); ++i)
      story.answer += (i == 0 ? " " : ", ") + values[several ? i : asked];
    story.answer += ".";
    return story;
  }
};

}  // namespace

std::vector<const Task*> text_tasks() {
  static const Needle needle;
  return {&needle};
}

}  // namespace ttt
