// Which windows of a data set an evaluation reads, and which of their targets it scores.
//
//     plain         windows of T targets front to back over the whole set, the last one what is left
//     documents     windows of T from each document's start on, only those that lie inside it whole
//     stride S      windows of T that begin S tokens apart; of all but a sequence's first the last S targets are scored
//     carry state   windows of T, the state of one going on into the next
//     samples       every document is a window, without the target behind it; T is the longest
//     starts        windows of T from each document's start on, its last one what is left
//
// Stride and carried state read each document from its start to its end as one sequence; the whole set is one where it
// marks no documents, or a single one. Together with `documents` they read only the windows that lie inside whole.
#pragma once

#include <cstdint>
#include <vector>

#include "data/dataset.h"

namespace ttt {

struct WindowOptions {
  std::int64_t context = 2048;   // T
  std::int64_t max_windows = 0;  // the first so many; 0: all
  bool documents = false;
  std::int64_t stride = 0;  // S in [1, T]; 0: windows do not overlap
  bool carry_state = false;
  bool samples = false;
  bool document_starts = false;  // a window begins at every document's start, positions count within the window
};

struct EvalWindow {
  std::int64_t begin = 0, length = 0;  // inputs begin .. begin+length-1 of the set; a target is the token after
  std::int64_t skip = 0;               // its first targets, which an earlier window scores
  std::int64_t position = 0;           // tokens of its sequence before it
  bool continues = false;              // from the state of the window before it
  std::int64_t document = 0;           // of `samples`: its number
};

class EvalWindows {
 public:
  // Throws UserError: no window (nothing to score, or no document that holds one).
  EvalWindows(const Dataset& data, const WindowOptions& options);

  std::int64_t size() const { return size_; }
  EvalWindow operator[](std::int64_t index) const;
  std::int64_t context() const { return options_.context; }  // T
  // The largest place of a target in its sequence, from 1, in any of them.
  std::int64_t longest() const;

 private:
  struct Sequence {
    std::int64_t begin = 0, targets = 0;
    std::int64_t windows_before = 0;  // of the sequences before it
    std::int64_t document = 0;
  };
  std::int64_t windows_in(std::int64_t targets) const;

  WindowOptions options_;
  std::vector<Sequence> sequences_;  // those that have windows
  std::int64_t size_ = 0;
};

}  // namespace ttt
