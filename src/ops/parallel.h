// Splitting rows over LibTorch's CPU threads (at::set_num_threads). Only parallel.cpp is compiled with OpenMP, which
// at::parallel_for needs at its place of use.
#pragma once

#include <cstdint>
#include <functional>

namespace ttt {

// Calls body(begin, end) on disjoint ranges that cover [0, size), at least `grain` long where possible, on several
// threads.
void parallel_ranges(std::int64_t size, std::int64_t grain,
                     const std::function<void(std::int64_t, std::int64_t)>& body);

// For reductions that must not depend on timing: how many ranges a loop over `size` is cut into (at most the number of
// threads), and body(index, begin, end) for each of them, in parallel.
std::int64_t range_count(std::int64_t size, std::int64_t grain);
void parallel_numbered_ranges(std::int64_t size, std::int64_t count,
                              const std::function<void(std::int64_t, std::int64_t, std::int64_t)>& body);

}  // namespace ttt
