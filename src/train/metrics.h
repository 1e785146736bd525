// metrics.jsonl: one JSON object a line, flushed line by line.
//
//     {"kind": "train", "step", "loss", "grad_norm" (before clipping), "lr", "ttt_lr_mult", "tokens" (so far),
//      "seconds", "tokens_per_second"}
//     {"kind": "valid", "step", "loss", "perplexity", "bits_per_byte" (with a tokenizer), "tokens", "seconds",
//      "domains": {NAME: {"loss", "bits_per_byte", "tokens"}}}    where data.valid names several sets; of sets that say
//      what is scored also "accuracy" (of scored targets) and "answer_accuracy" (of whole answers); with
//      train.eval_inner_lr_scales "inner_lr_scales": {SCALE: {"loss", "bits_per_byte"}}, of one set "accuracy", too
//     {"kind": "position_loss", "step", "positions": [{"from", "to", "loss", "low", "high", "bits_per_byte", "tokens"}],
//      "intervals"}    infer/position_loss.h, with train.position_loss_every; of several sets under
//      "domains": {NAME: ...}
//     {"kind": "inner_loop", "step", "layer", "target_variance", "loss_w0", "loss_before", "loss_after", "weight_change",
//      "sigma_quantiles"}    lists with one value a mini-batch of the inner loop (quantiles: 0, 25, 50, 75, 100 %)
//     {"kind": "sample", "step", "prompt", "text"}    with train.sample_tokens
//     {"kind": "skipped", "step", "loss", "grad_norm" (null where not finite), "samples": [first, last), "skipped"
//      (so far)}    a step without an update
//     {"kind": "rollback", "step" (of the checkpoint), "from_step", "reason", "passed_over": [[first, last), ...],
//      "rollbacks" (so far)}
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>

#include "base/json.h"
#include "nn/mixer.h"
#include "train/tensorboard.h"

namespace ttt {

class MetricsWriter {
 public:
  // Appends to `path`. Lines of steps after `last_step` are removed first: the run that resumes from there writes them
  // again. So is a last line that was cut off. Throws UserError when the file cannot be written.
  // `tensorboard`, where there is one, gets the numbers of each line too.
  MetricsWriter(const std::filesystem::path& path, std::int64_t last_step, TensorboardWriter* tensorboard = nullptr);
  ~MetricsWriter();
  MetricsWriter(const MetricsWriter&) = delete;
  MetricsWriter& operator=(const MetricsWriter&) = delete;

  void write(const Json& line);  // throws Error
  void sync();                   // to the disk, before the checkpoint that these lines belong to

 private:
  std::filesystem::path path_;
  std::FILE* file_ = nullptr;
  TensorboardWriter* tensorboard_;
};

Json to_json(const InnerLoopStats& stats, std::int64_t step);

}  // namespace ttt
