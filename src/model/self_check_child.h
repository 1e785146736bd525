// The child processes of a self-check: what they say is read while they live, so that it is known what one crashed or
// hung in; another one goes on behind that.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/self_check_verdict.h"

namespace ttt {

// Time in which this process itself was stopped does not count.
struct SelfCheckLimits {
  double start = 180;   // seconds until a child is ready: it loads LibTorch and wakes the GPU
  double silence = 5;   // seconds without a word, after which a row hangs
  double total = 10;    // seconds of checking, starts and hanging left out, after which no other row begins
  int lost = 3;         // rows that took their process down, after which no other row is tried
  double compile = 20;  // times as long, where kernels are compiled at their first start
};

// What children say (bench/row_checks.h), in pieces; lines that are none of theirs are passed over.
class SelfCheckReader {
 public:
  void begin_child();  // what comes is another one's: it is not ready, and has begun nothing
  void read(std::string_view piece);

  bool ready() const { return ready_; }         // it has said which rows there are
  bool done() const { return done_; }           // all of them
  bool compiles() const { return compiles_; }   // kernels are compiled at their first start
  std::size_t words() const { return words_; }  // lines of theirs so far

  // The check that was begun and not ended: a row's number and what it is.
  struct Open {
    std::size_t row;
    std::string check;
  };
  const std::optional<Open>& open() const { return open_; }

  std::size_t next() const { return next_; }  // the first row without a verdict
  // The verdict about the first row without one, or about all of them.
  void close(RowState state, const std::string& text);
  void close_all(RowState state, const std::string& text);
  const std::vector<RowVerdict>& rows() const { return rows_; }

 private:
  void line(std::string_view text);

  std::string partial_;
  bool ready_ = false, done_ = false, compiles_ = false;
  std::size_t words_ = 0, next_ = 0;
  std::optional<Open> open_;
  std::vector<RowVerdict> rows_;
};

// `program` self-check --device `device` --from N, as often as it takes. Gives rows, seconds and incomplete.
SelfCheckVerdict check_in_children(const fs::path& program, const std::string& device, const SelfCheckLimits& limits);

}  // namespace ttt
