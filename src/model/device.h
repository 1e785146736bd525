// Which device a run uses.
#pragma once

#include <torch/types.h>

#include <string>

#include "config/run_config.h"
#include "ops/products.h"

namespace ttt {

// kAuto: CUDA when LibTorch sees a GPU, else the CPU; logged. kCuda without a GPU, or in a build without CUDA, throws
// UserError that says which of the two it is. `local_rank`: of several processes on this machine; each takes a GPU of
// its own, unless it sees a single one (as Slurm may have it). `setting`: what the user set the device by.
torch::Device select_device(DeviceKind kind, int local_rank = 0, const char* setting = "train.device:");
// The same by a command's --device: "auto", "cpu" or "cuda".
torch::Device select_device(const std::string& option);

// Whether training computes in bf16 there. kAuto: where it pays, on a GPU and on processors with AMX (logged).
bool select_bf16(DType dtype, torch::Device device);

// Sets how this process multiplies bf16 on that device, and says so. kAuto: `stored`, "native" or "fp32_panels", where
// a run began with it, else what is faster here (some tenths of a second). A choice that is several times slower than
// the other one is warned of. On a GPU: LibTorch's.
Bf16Products select_bf16_products(ProductsKind kind, torch::Device device, const std::string& stored = "");

// Forces the rows of kernel tables that the configuration names (train.kernels, train.ttt_kernel), beside those of the
// environment. Throws UserError for a row that does not exist or cannot run here.
void select_kernels(const TrainConfig& train);

// How many processes of a training share this one's cores and its machine, itself included.
struct LocalProcesses {
  std::int64_t on_these_cores = 1, on_this_host = 1;
};

// Sets LibTorch's CPU threads; 0: the cores that this process may run on, divided by how many processes share them, but
// no more than its share of what the machine's control group allows (a container's or a job's CPU quota). From
// then on the process keeps the memory that it frees: every step needs the same tensors again, and fresh pages from the
// system cost some 5 % of a training step.
void prepare_cpu(std::int64_t threads, const LocalProcesses& processes = {});

}  // namespace ttt
