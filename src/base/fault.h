// Faults on purpose, for tests of what a run does about them (tools/fault_suite.sh). The environment's TTT_FAULT names
// them: KIND@STEP, or KIND@STEP:RANK for one rank of a job, separated by commas; "nan_gradient@7,stop@9:1". Nothing
// sets it but tests.
//   nan_gradient   the step's gradient is not a number
//   out_of_memory  the step finds no memory
//   stop           the process stops itself (SIGSTOP) before the step, and waits there for what is done to it
#pragma once

#include <cstdint>
#include <string_view>

namespace ttt {

// Whether TTT_FAULT asks for this fault now; each one it names happens once in a process. The main thread asks.
bool fault_is_due(std::string_view kind, std::int64_t step, int rank);

}  // namespace ttt
