// What a training of several processes (ranks) settles before its first step. Each rank takes its share of every step's
// sequences; together they do what one process would, up to the order in which fp32 gradients are summed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "config/run_config.h"
#include "dist/communicator.h"
#include "dist/world.h"
#include "infer/evaluate.h"
#include "model/device.h"

namespace ttt {

// Connects the ranks; null for a process alone. Throws as check_shares() and Communicator do.
std::unique_ptr<Communicator> connect_ranks(const RunConfig& config, const World& world);

// Throws UserError, on every rank, when one has another program, config or data than rank 0, naming both values.
void check_same_on_all_ranks(Communicator& ranks, const RunConfig& config, const std::string& data_fingerprint);

// The self-check (model/self_check.h) of every rank's device; what fails on one rank is used on none. Rank 0 says what
// was decided.
void self_check_on_all_ranks(Communicator& ranks, at::Device device, bool wanted);

// How many ranks, this one included, may run on the very cores that this one may run on, and how many run on its
// machine.
LocalProcesses local_processes(Communicator& ranks);

// This rank's share of an evaluation; `stop` is asked after each round and, where any rank says so, StopRequested ends
// the evaluation on all of them. `ranks`: null for a process alone.
struct StopRequested {};
EvalShare share_evaluation(Communicator* ranks, std::function<bool()> stop);

}  // namespace ttt
