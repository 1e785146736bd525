#include "launch/binding.h"

#include <algorithm>

namespace ttt {

std::vector<int> processors_of_rank(int rank, int ranks, const std::vector<NumaNode>& nodes,
                                    const std::vector<int>& allowed) {
  std::vector<std::vector<int>> usable;
  for (const NumaNode& node : nodes) {
    std::vector<int> processors;
    for (const int processor : processors_of(node.cpus))
      if (std::find(allowed.begin(), allowed.end(), processor) != allowed.end()) processors.push_back(processor);
    if (!processors.empty()) usable.push_back(processors);
  }
  const int count = static_cast<int>(usable.size());
  if (ranks < 2 || count < 2) return {};
  const int first = rank * count / ranks, end = std::max(first + 1, (rank + 1) * count / ranks);
  std::vector<int> own;
  for (int node = first; node < end; ++node)
    own.insert(own.end(), usable[static_cast<std::size_t>(node)].begin(), usable[static_cast<std::size_t>(node)].end());
  return own;
}

}  // namespace ttt
