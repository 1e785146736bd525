// What a run does about a step that went wrong: skip it, go back to a checkpoint, or stop. All ranks decide alike,
// since the sums that they decide by are the same bits on each.
#include <ATen/ATen.h>

#include <utility>

#include "base/log.h"
#include "train/trainer.h"

namespace ttt {

void Trainer::recover(const BadStep& bad) {
  if (!bad.is_spike && state_.skipped_in_row < config_.train.max_skipped_steps) return skip_step(bad);
  if (may_roll_back()) return roll_back(bad);
  stop_at_last_good_step(bad);
}

bool Trainer::may_roll_back() const {
  return has_checkpoint_ && state_.rollbacks < config_.train.max_rollbacks;
}

// The step counts, its samples are consumed, parameters and moments stay what they were.
void Trainer::skip_step(const BadStep& bad) {
  const PassedOver::Next next = state_.passed_over.next(state_.cursor, config_.sequences_per_step());
  if (state_.skipped_in_row == 0) state_.row_cursor = state_.cursor;
  ++state_.step;
  ++state_.skipped;
  ++state_.skipped_in_row;
  state_.tokens += config_.train.batch_tokens;
  const std::int64_t first = state_.cursor;
  state_.previous_cursor = std::exchange(state_.cursor, next.cursor);
  if (!is_first()) return;
  metrics_->write({{"kind", "skipped"},
                   {"step", state_.step},
                   {"loss", bad.loss},
                   {"grad_norm", bad.grad_norm},
                   {"samples", {first, next.cursor}},
                   {"skipped", state_.skipped}});
  write_ledger(bad.loss, bad.grad_norm);
  log_warn(cat(bad.what(), " and is skipped: ", state_.skipped_in_row, " of at most ", config_.train.max_skipped_steps,
               " in a row, ", state_.skipped, " in all (train.max_skipped_steps)"));
}

void Trainer::roll_back(const BadStep& bad) {
  // What to leave out: the samples of the steps that were skipped in vain, or of the spike and of the step before it,
  // whose update it may come from.
  const PassedOver::Next next = state_.passed_over.next(state_.cursor, config_.sequences_per_step());
  std::int64_t first = state_.cursor;
  if (bad.is_spike) first = state_.previous_cursor;
  if (!bad.is_spike && state_.skipped_in_row > 0) first = state_.row_cursor;
  PassedOver passed_over = state_.passed_over;
  passed_over.add({first, next.cursor});
  const std::int64_t rollbacks = state_.rollbacks + 1, from = state_.step + 1;

  finish_saving();
  std::optional<ResumePoint> newest = agree_on_resume_point();
  TTT_CHECK(newest, "no checkpoint in ", checkpoints_.string());
  if (is_first())
    log_warn(cat(bad.what(), ": the run goes back to '", newest->directory.string(), "' (", rollbacks, " of at most ",
                 config_.train.max_rollbacks, " times, train.max_rollbacks) and leaves out samples ", first, " to ",
                 next.cursor - 1, " of its order"));
  resume(*std::exchange(newest, std::nullopt));
  state_.passed_over = std::move(passed_over);
  state_.rollbacks = rollbacks;
  if (is_first()) {
    open_writers();
    metrics_->write({{"kind", "rollback"},
                     {"step", state_.step},
                     {"from_step", from},
                     {"reason", bad.what()},
                     {"passed_over", to_json(state_.passed_over)},
                     {"rollbacks", rollbacks}});
  }
  save();  // so that whoever resumes from here leaves them out too
}

void Trainer::stop_at_last_good_step(const BadStep& bad) {
  finish_saving();
  const std::string what = cat(bad.what(), ": the run diverged and stops here");
  const std::string advice = "; lower optim.lr or optim.clip_grad_norm";
  for (const auto& parameter : model_->named_parameters()) {
    if (!at::isfinite(parameter.value()).all().item<bool>())
      fail(what, ", and the parameter ", parameter.key(), " is not finite after step ", state_.step,
           ", which is therefore not saved; the last checkpoint is kept", advice);
  }
  const fs::path directory = checkpoint_path(checkpoints_, state_.step);
  if (state_.step == 0) fail(what, " before anything was learnt", advice);
  if (any_rank(is_first() && !fs::exists(directory))) save();
  finish_saving();
  fail(what, "; the last good step is saved as '", directory.string(), "'", advice);
}

}  // namespace ttt
