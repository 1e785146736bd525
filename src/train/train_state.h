// Where a run stands: beside the model and the optimizer's moments, everything that the numbers of its next steps
// depend on.
#pragma once

#include <cstdint>
#include <string>

#include "base/json.h"
#include "train/loss_trend.h"
#include "train/passed_over.h"

namespace ttt {

// state.json of a checkpoint. The learning rates, the inner warm-up and the order of samples are functions of these
// values and of the config; no random numbers are drawn after the initialisation.
struct TrainState {
  std::int64_t step = 0;         // steps done, skipped ones too
  std::int64_t cursor = 0;       // samples consumed: the next one is SampleOrder(cursor), over all epochs
  std::int64_t tokens = 0;       // targets seen, scored or not
  std::int64_t seed = 0;         // of initialisation and data order
  std::string data;              // Dataset::fingerprint() of data.train
  std::string bf16_products;     // in bf16: to_string(Bf16Products) on CPUs, "cuda" on GPUs; "": in fp32
  bool owes_validation = false;  // a signal came before the validation that was due after this step

  // Trouble that the run has been through (train/recovery.cpp).
  std::int64_t skipped = 0;          // of the steps, those without an update
  std::int64_t skipped_in_row = 0;   // the last steps, up to this one
  std::int64_t row_cursor = 0;       // the cursor before these
  std::int64_t rollbacks = 0;        // to a checkpoint
  std::int64_t previous_cursor = 0;  // the cursor before the last step
  PassedOver passed_over;            // samples that are left out since
  LossTrend loss_trend;

  bool operator==(const TrainState&) const = default;
};

// With the revision of the program that wrote it, "git_revision", which is for the reader.
Json to_json(const TrainState& state);
// Throws UserError naming `source` when a value is missing.
TrainState train_state_from_json(const Json& json, const std::string& source);

}  // namespace ttt
