// Runs on sets that say which targets are scored, such as synthetic tasks: how many answers are right, by mixer, and
// against the bytes of state that a mixer remembers with.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "report/figure.h"
#include "report/run_log.h"

namespace ttt {

struct AnswerRun {
  std::string name, mixer;
  std::string set;         // data.valid
  double lr = 0;           // optim.lr
  double state_bytes = 0;  // of one sequence of the training's context, in decoding
  double accuracy = 0;     // share of scored targets
};

// Runs that have validated on such a set.
struct AnswerRuns {
  std::vector<AnswerRun> runs;  // finished ones
  std::int64_t unfinished = 0;  // others, left out: at another step their accuracy is that of another training
};

AnswerRuns answer_runs(const std::vector<RunLog>& runs);
// The same of lines of a sweep's runs.jsonl.
AnswerRuns answer_runs(const std::vector<Json>& lines);

// Of runs of one set, mixer and size of state with several learning rates those of the best: whose mean accuracy is
// highest. The others are left out of table and figures, as in the papers that a grid of rates comes from.
std::vector<AnswerRun> at_best_rates(const std::vector<AnswerRun>& runs);

// A table by set and mixer (the mean over its runs, the lowest and the highest), and for each set with runs of several
// sizes of state the accuracy by them, at the best rates; how many runs were left out. "" for no runs. Appends the
// figures.
std::string answers_section(const AnswerRuns& runs, std::vector<Figure>& figures);

}  // namespace ttt
