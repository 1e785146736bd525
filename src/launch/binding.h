// Which processors the ranks of a machine run on: each on one NUMA node, so that its threads and its memory are near
// each other.
#pragma once

#include <vector>

#include "base/machine.h"

namespace ttt {

// The processors of local rank `rank` of `ranks`, out of those that the launcher may run on: the ranks are dealt out
// over the nodes in order, so many to each; fewer ranks than nodes get several nodes each. Empty where there is nothing
// to choose: one rank, or one node.
std::vector<int> processors_of_rank(int rank, int ranks, const std::vector<NumaNode>& nodes,
                                    const std::vector<int>& allowed);

}  // namespace ttt
