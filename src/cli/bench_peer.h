// ttt bench peer: training steps beside those of the same model in Python.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"

namespace ttt {

ExitCode run_bench_peer(const std::vector<std::string>& args);

}  // namespace ttt
