// The run as TensorBoard shows it: OUTPUT_DIR/tensorboard/events.out.tfevents.*, one file for each start of the run.
//
//     scalars      every number of a metrics.jsonl line: train/loss, valid/bits_per_byte, ...; of losses by position
//                  position_loss/to_NNNNNNNN, named by a bucket's last position
//     histograms   inner_loop/learning_rate/layer_NN (sigma) and inner_loop/weight_change/layer_NN (||W_t - W_0||)
//     texts        config, sample
//
// The horizontal axis is the optimizer step. A start says from which step on it writes, so that a reader drops what an
// earlier one, killed later than its last checkpoint, wrote of these steps. Event files carry wall-clock times; nothing
// is read back from them.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>

#include "base/json.h"
#include "nn/mixer.h"

namespace ttt {

class TensorboardWriter {
 public:
  // The file is made with the first event, in `directory`; `config` becomes its first text. `first_step`: the first
  // that this start of the run will do.
  TensorboardWriter(const std::filesystem::path& directory, std::int64_t first_step, const std::string& config);
  ~TensorboardWriter();
  TensorboardWriter(const TensorboardWriter&) = delete;
  TensorboardWriter& operator=(const TensorboardWriter&) = delete;

  // Each throws Error when the file cannot be written.
  void scalars(const Json& line);  // a line of metrics.jsonl: tags are KIND/KEY, nested objects KIND/KEY/KEY
  void histograms(const InnerLoopStats& stats, std::int64_t step);
  void text(const std::string& tag, std::int64_t step, const std::string& text);  // shown as it is, in a fixed font

 private:
  void open();
  void write(const std::string& event);
  void scalars_below(const Json& object, const std::string& prefix, std::int64_t step);

  std::filesystem::path directory_, path_;
  std::int64_t first_step_;
  std::string config_;
  std::FILE* file_ = nullptr;
};

}  // namespace ttt
