// Independent pieces of work on several threads.
#pragma once

#include <functional>

namespace ttt {

// work(0) ... work(count - 1), in any order, on `threads` threads. What one throws is thrown again when all have ended.
void for_each_index(int count, int threads, const std::function<void(int)>& work);

// The processors that this process may run on.
int available_threads();

}  // namespace ttt
