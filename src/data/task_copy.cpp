// Tasks of storing what was read and giving it out again. Ids: 0 padding, 1 the mark behind which the answer stands,
// then what each task has.
//
//     copy            the same again
//     selective_copy  Mamba's and MAD's (arXiv 2312.00752, 2403.17844): symbols among blanks, without the blanks
//     palindrome      Kimi Linear (arXiv 2510.26692): backwards; the first, which stands right before the mark, is not
//                     scored
//     stack           likewise: `stacks` stacks, <push> id symbol and <pop> id symbol, last in first out
//     compression     MAD: all symbols out of what is kept at the mark, each asked for by its place
#include <algorithm>

#include "base/error.h"
#include "data/task.h"

namespace ttt {
namespace {

constexpr std::int64_t kMark = 1, kFirstSymbol = 2;

std::vector<std::int64_t> draw_symbols(CounterRng& rng, std::int64_t first, std::int64_t end, std::int64_t count) {
  std::vector<std::int64_t> symbols;
  for (std::int64_t i = 0; i < count; ++i) symbols.push_back(draw_between(rng, first, end - 1));
  return symbols;
}

const std::vector<TaskParameter> kItemSettings = {
    {"items", "16", "symbols, at most", 1, 1 << 22},
    {"min_items", "0", "at least, the number is uniform in between and samples are padded; 0: as items", 0, 1 << 22},
    {"vocab_size", "32", "with padding 0 and the mark 1; all others are symbols", 4, 1 << 24}};

void check_items(const TaskSettings& s) {
  if (s["min_items"] > s["items"])
    user_error("task ", s.task().name(), ": min_items ", s["min_items"], " is more than items ", s["items"]);
}

std::int64_t draw_items(const TaskSettings& s, CounterRng& rng) {
  return s["min_items"] > 0 ? draw_between(rng, s["min_items"], s["items"]) : s["items"];
}

// x1 .. xn mark and the same, forwards or backwards.
class Copy : public Task {
 public:
  Copy(const char* name, const char* summary, bool backwards)
      : Task(name, summary, kItemSettings), backwards_(backwards) {}

  void check(const TaskSettings& s) const override {
    check_items(s);
    if (backwards_ && (s["items"] < 2 || s["min_items"] == 1))
      user_error("task ", name(), ": one item leaves nothing to score; give at least 2 as items and min_items");
  }
  std::int64_t vocab_size(const TaskSettings& s) const override { return s["vocab_size"]; }
  std::int64_t sample_tokens(const TaskSettings& s) const override { return 2 * s["items"] + 1; }

  TaskSample generate(const TaskSettings& s, CounterRng& rng) const override {
    std::vector<std::int64_t> symbols = draw_symbols(rng, kFirstSymbol, s["vocab_size"], draw_items(s, rng));
    TaskSample sample;
    sample.items = static_cast<std::uint32_t>(symbols.size());
    for (const std::int64_t symbol : symbols) sample.add(symbol);
    sample.add(kMark);
    if (backwards_) {
      sample.add(symbols.back());
      symbols.pop_back();
      std::reverse(symbols.begin(), symbols.end());
    }
    sample.answer(symbols);
    sample.pad(sample_tokens(s), 0);
    return sample;
  }

 private:
  bool backwards_;
};

constexpr std::int64_t kBlank = 2, kFirstSelected = 3;

class SelectiveCopy : public Task {
 public:
  SelectiveCopy()
      : Task("selective_copy",
             "`length` tokens, `items` of them symbols at random places and blanks else; the mark; the "
             "symbols, which are scored",
             {{"length", "64", "tokens that are read", 1, 1 << 24},
              {"items", "16", "symbols among them", 1, 1 << 22},
              {"vocab_size", "19", "with padding 0, the mark 1 and the blank 2; all others are symbols", 5, 1 << 24}}) {
  }

  void check(const TaskSettings& s) const override {
    if (s["items"] > s["length"])
      user_error("task selective_copy: ", s["items"], " items do not fit into a length of ", s["length"]);
  }
  std::int64_t vocab_size(const TaskSettings& s) const override { return s["vocab_size"]; }
  std::int64_t sample_tokens(const TaskSettings& s) const override { return s["length"] + 1 + s["items"]; }

  TaskSample generate(const TaskSettings& s, CounterRng& rng) const override {
    const std::vector<std::int64_t> symbols = draw_symbols(rng, kFirstSelected, s["vocab_size"], s["items"]);
    std::vector<std::int64_t> places = draw_different(rng, 0, s["length"], s["items"]);
    std::sort(places.begin(), places.end());
    std::vector<std::int64_t> read(static_cast<std::size_t>(s["length"]), kBlank);
    for (std::size_t i = 0; i < places.size(); ++i) read[static_cast<std::size_t>(places[i])] = symbols[i];
    TaskSample sample;
    sample.items = static_cast<std::uint32_t>(symbols.size());
    for (const std::int64_t token : read) sample.add(token);
    sample.add(kMark);
    sample.answer(symbols);
    return sample;
  }
};

constexpr std::int64_t kPush = 1, kPop = 2, kFirstStack = 3;

class Stack : public Task {
 public:
  Stack()
      : Task("stack", "push id x and pop id x at random, last in first out: every x behind a pop is scored",
             {{"length", "192", "tokens of a sample, three an operation", 3, 1 << 24},
              {"stacks", "64", "", 1, 1 << 16},
              {"symbols", "64", "that can be pushed", 2, 1 << 24}}) {}

  std::int64_t vocab_size(const TaskSettings& s) const override { return kFirstStack + s["stacks"] + s["symbols"]; }
  std::int64_t sample_tokens(const TaskSettings& s) const override { return s["length"]; }

  TaskSample generate(const TaskSettings& s, CounterRng& rng) const override {
    const std::int64_t first_symbol = kFirstStack + s["stacks"];
    std::vector<std::vector<std::int64_t>> stacks(static_cast<std::size_t>(s["stacks"]));
    std::vector<std::int64_t> filled;  // a stack's number for each of its symbols: a pop takes any symbol's stack
    TaskSample sample;
    for (std::int64_t i = 0; i < s["length"] / 3; ++i) {
      if (!filled.empty() && draw_below(rng, 2) == 0) {
        const auto place = static_cast<std::size_t>(draw_below(rng, static_cast<std::int64_t>(filled.size())));
        const std::int64_t id = filled[place];
        filled[place] = filled.back();
        filled.pop_back();
        std::vector<std::int64_t>& stack = stacks[static_cast<std::size_t>(id)];
        sample.add(kPop);
        sample.add(kFirstStack + id);
        sample.answer({stack.back()});
        stack.pop_back();
        ++sample.items;
        continue;
      }
      const std::int64_t id = draw_below(rng, s["stacks"]), symbol = first_symbol + draw_below(rng, s["symbols"]);
      sample.add(kPush);
      sample.add(kFirstStack + id);
      sample.add(symbol);
      stacks[static_cast<std::size_t>(id)].push_back(symbol);
      filled.push_back(id);
    }
    sample.pad(s["length"], 0);
    return sample;
  }
};

class Compression : public Task {
 public:
  Compression()
      : Task("compression", "x1 .. xn, the mark, then in random order a place and what stands there, which is scored",
             {{"items", "16", "symbols", 1, 1 << 20}, {"symbols", "16", "different ones", 2, 1 << 24}}) {}

  // Ids: padding, mark, places, symbols.
  std::int64_t vocab_size(const TaskSettings& s) const override { return kFirstSymbol + s["items"] + s["symbols"]; }
  std::int64_t sample_tokens(const TaskSettings& s) const override { return 3 * s["items"] + 1; }

  TaskSample generate(const TaskSettings& s, CounterRng& rng) const override {
    const std::int64_t n = s["items"];
    const std::vector<std::int64_t> symbols = draw_symbols(rng, kFirstSymbol + n, vocab_size(s), n);
    TaskSample sample;
    sample.items = static_cast<std::uint32_t>(n);
    for (const std::int64_t symbol : symbols) sample.add(symbol);
    sample.add(kMark);
    for (const std::int64_t place : draw_different(rng, 0, n, n)) {
      sample.add(kFirstSymbol + place);
      sample.answer({symbols[static_cast<std::size_t>(place)]});
    }
    return sample;
  }
};

}  // namespace

std::vector<const Task*> copy_tasks() {
  static const Copy copy("copy", "x1 .. xn, the mark, x1 .. xn again, which are scored", /*backwards=*/false);
  static const SelectiveCopy selective;
  static const Copy palindrome("palindrome", "x1 .. xn, the mark, xn .. x1, of which all but xn are scored",
                               /*backwards=*/true);
  static const Stack stack;
  static const Compression compression;
  return {&copy, &selective, &palindrome, &stack, &compression};
}

}  // namespace ttt
