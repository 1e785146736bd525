// A predicted time of each CUDA kernel of an op at a shape, which a measurement can be compared with (`ttt bench op
// NAME --plan`). It needs no GPU: kernel_work.h says what is counted, this what a GPU can do of it at best.
//
//   time = the longest of   bytes / bandwidth of the memory,   scratch / bandwidth of the second cache,
//                           mma / (0.6 of the dense bf16 peak x share),   fp32 / (fp32 peak x share)   + one launch
//
// share: of all multiprocessors' time, that in which they have blocks: the busiest one has ceil(blocks / 132) of them.
// What a serial chain waits for (serial_steps) is not in it; nor is waiting of any other kind.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "bench/kernel_plan.h"
#include "bench/kernel_work.h"

namespace ttt {

inline constexpr int kMultiprocessors = 132;       // of an H100 SXM and of an H200
inline constexpr double kMmaSyncShare = 0.6;       // of the tensor cores' peak, which only wgmma comes near to
inline constexpr double kFp32Peak = 67e12;         // FLOP/s, stated by the maker
inline constexpr double kCacheBandwidth = 5.5e12;  // bytes/s of the second cache; a guess, the maker states none
inline constexpr double kLaunchSeconds = 3e-6;

struct PredictedGpu {
  const char* name;
  double bandwidth;  // bytes/s of its memory, stated by the maker
};
inline constexpr PredictedGpu kPredictedGpus[] = {{"H100 SXM", 3.35e12}, {"H200", 4.8e12}};

struct Prediction {
  std::string gpu;
  double seconds = 0;
  std::string bound;  // what takes the longest: "bytes", "scratch", "mma" or "fp32"
};

// Of all multiprocessors' time, that in which they have blocks of equal length; in (0, 1].
double busy_share(std::int64_t blocks);

Prediction predict(const KernelWork& work, const PredictedGpu& gpu);

struct PredictedKernel {
  KernelWork work;
  int registers = 0;           // on sm_90a; 0: unknown, in a build without the kernels
  int blocks_held = 0;         // by a multiprocessor at a time; 0: unknown, or one needs more than there is
  std::int64_t waves = 0;      // in which the blocks run; 0: unknown
  std::vector<Prediction> on;  // kPredictedGpus; none where a block does not fit

  bool is_known() const { return registers > 0; }
  bool is_too_large() const { return is_known() && blocks_held == 0; }
};

struct OpPlan {
  std::string op;
  OpSizes sizes;
  std::vector<PlannedKernel> kernels;      // of all shapes; none in a build without the kernels
  std::vector<PredictedKernel> predicted;  // of these sizes
  std::string note;                        // why nothing is predicted, or ""
};

// Throws UserError with the nearest name when there is no such op.
OpPlan plan_op(const std::string& op, const OpSizes& sizes);

// The predictions as a table and what they mean.
std::string prediction_text(const OpPlan& plan);
Json to_json(const OpPlan& plan);

}  // namespace ttt
