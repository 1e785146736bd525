// Self-check: before the first use of a device's fused rows a child process holds each of them against fp64
// (bench/row_checks.h). What fails, hangs or crashes there is not used, another row of the op's table is. The verdict
// is kept in the user's cache for that GPU, driver, CUDA and program.
//
// The environment, for tests: TTT_SELF_CHECK_DEVICE=cpu checks the rows made for CPUs where a run is on a CPU, which
// else has no self-check; TTT_SELF_CHECK_FAULT plants faults in the child; TTT_SELF_CHECK_SECONDS is how long a check
// may take.
#pragma once

#include <c10/core/Device.h>

#include <string>
#include <vector>

#include "model/self_check_verdict.h"

namespace ttt {

// The program that is started as `PROGRAM self-check`; this process's own, where its command line has that command.
// Without one, as in the tests of libraries, nothing is checked.
void set_self_check_program(const fs::path& program);

// Whether rows on that device are to be checked: on a GPU that there are kernels for.
bool needs_self_check(at::Device device);

// The verdict that is kept, or else a new one, which is then kept. Of several processes that ask at a time for one kind
// of GPU one checks, the others wait for it. needs_self_check(device). Throws nothing for what goes wrong on the way:
// the verdict says why it is incomplete.
SelfCheckVerdict obtain_verdict(at::Device device);

// Of several ranks: what fails on one of them fails, with its rank named. by_rank: to_json() of each one's verdict, ""
// of one that has none; the result is about `own`'s subject.
SelfCheckVerdict joined_verdict(const SelfCheckVerdict& own, const std::vector<std::string>& by_rank);

// Distrusts the rows that failed, and no others.
void apply_verdict(const SelfCheckVerdict& verdict);
// Throws UserError where one of them is forced.
void refuse_forced_rows(const SelfCheckVerdict& verdict);

// Says what was decided: a warning for each row that failed; else a line, in the run's log alone where the verdict was
// kept from before.
void announce_verdict(const SelfCheckVerdict& verdict, at::Device device);

// All of it, for a process alone, where needs_self_check(). wanted: false checks nothing, and trusts every row, which is
// said. Throws as refuse_forced_rows().
void self_check(at::Device device, bool wanted);

}  // namespace ttt
