// A Chrome trace of a few training steps (open it in Perfetto or chrome://tracing), by LibTorch's own profiler: every
// op, the backward pass, collectives, and what RECORD_USER_SCOPE names. Of a rank each.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "config/run_config.h"

namespace ttt {

class StepProfile {
 public:
  // Steps config.first_step to first_step + steps - 1 go to FOLDER/trace-stepSSSSSSSS-rankR.json; first_step 0: none.
  StepProfile(const ProfileConfig& config, const std::filesystem::path& folder, int rank, bool cuda);
  ~StepProfile();  // what was recorded so far is written
  StepProfile(const StepProfile&) = delete;
  StepProfile& operator=(const StepProfile&) = delete;

  void begin(std::int64_t step);
  void end(std::int64_t step);  // after the profile's last one: writes the file and says so

 private:
  void write() noexcept;

  ProfileConfig config_;
  std::filesystem::path folder_;
  int rank_;
  bool cuda_, recording_ = false;
};

}  // namespace ttt
