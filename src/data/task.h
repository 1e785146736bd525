// Synthetic tasks: sequences of tokens of which some, the answers, can be told from what stands before them, by a model
// that can do what the task asks for and by nothing simpler.
//
// A sample is a pure function of (task, settings, seed, index). Every target is the next token: an answer stands in the
// sequence, behind its question, and its tokens are the ones that are scored.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/rng.h"

namespace ttt {

struct TaskSample {
  std::vector<std::int32_t> tokens;
  std::vector<std::uint8_t> marks;  // of each token: kScored, kFirstOfAnswer (data/dataset.h), or 0
  std::uint32_t items = 0;          // that the task is about: pairs, symbols to copy, ...

  void add(std::int64_t token) { put(token, 0); }
  void answer(const std::vector<std::int64_t>& tokens_of_answer);  // one answer
  void pad(std::int64_t length, std::int64_t token) {
    while (static_cast<std::int64_t>(tokens.size()) < length) add(token);
  }

 private:
  void put(std::int64_t token, std::uint8_t mark) {
    tokens.push_back(static_cast<std::int32_t>(token));
    marks.push_back(mark);
  }
};

// A setting of a task: a whole number within bounds, or one of some words.
struct TaskParameter {
  std::string name, value;  // the default
  std::string help;
  std::int64_t min = 0, max = 0;
  std::vector<std::string> words = {};
};

class Task;
class Tokenizer;

// What a task that hides things in a user's text takes them to.
struct TaskText {
  const Tokenizer* tokenizer = nullptr;
  std::vector<std::int32_t> haystack;  // its tokens
};

class TaskSettings {
 public:
  // `given`: "key=value" each. Throws UserError: an unknown task or key (with the nearest one), a value out of bounds,
  // a key given twice, what the task itself cannot do.
  TaskSettings(const std::string& task, const std::vector<std::string>& given);

  const Task& task() const { return *task_; }
  std::int64_t operator[](const std::string& name) const;  // of a number
  const std::string& word(const std::string& name) const;
  Json to_json() const;  // {"name", "settings": {...}}

  // Of a task that needs it, set before the first sample; outlives this.
  void set_text(const TaskText& text) { text_ = &text; }
  const TaskText& text() const;

 private:
  const Task* task_;
  std::vector<std::pair<std::string, std::string>> values_;  // every parameter's
  const TaskText* text_ = nullptr;
};

class Task {
 public:
  Task(const char* name, const char* summary, std::vector<TaskParameter> parameters)
      : name_(name), summary_(summary), parameters_(std::move(parameters)) {}
  virtual ~Task() = default;

  const std::string& name() const { return name_; }
  const std::string& summary() const { return summary_; }  // the layout of a sample
  const std::vector<TaskParameter>& parameters() const { return parameters_; }

  virtual void check(const TaskSettings&) const {}  // throws UserError
  virtual bool needs_text() const { return false; }
  virtual std::int64_t vocab_size(const TaskSettings& settings) const = 0;
  // Tokens of every sample: shorter ones are padded.
  virtual std::int64_t sample_tokens(const TaskSettings& settings) const = 0;
  virtual TaskSample generate(const TaskSettings& settings, CounterRng& rng) const = 0;

 private:
  std::string name_, summary_;
  std::vector<TaskParameter> parameters_;
};

// In the order in which the help lists them.
const std::vector<const Task*>& all_tasks();
TaskSample task_sample(const TaskSettings& settings, std::uint64_t seed, std::int64_t index);

// --- for generators ---

std::int64_t draw_below(CounterRng& rng, std::int64_t count);                       // uniform in [0, count)
std::int64_t draw_between(CounterRng& rng, std::int64_t first, std::int64_t last);  // both included
std::vector<std::int64_t> draw_different(CounterRng& rng, std::int64_t first, std::int64_t end, std::int64_t count);
// `count` different places in [0, weights), one after the other, each with a probability in proportion to its weight
// among those that are left.
std::vector<std::int64_t> draw_weighted(CounterRng& rng, const std::vector<double>& weights, std::int64_t count);
void shuffle(CounterRng& rng, std::vector<std::int64_t>& values);

// The number that a token of the task regression stands for: the middle of its bin.
double regression_value(std::int64_t token);

// The families of tasks, each in a file of its own.
std::vector<const Task*> recall_tasks();   // task_recall.cpp
std::vector<const Task*> copy_tasks();     // task_copy.cpp
std::vector<const Task*> algebra_tasks();  // task_algebra.cpp
std::vector<const Task*> text_tasks();     // task_needle.cpp

}  // namespace ttt
