// A trainer as one of the ranks that run_ranks() starts.
#pragma once

#include "support/ranks.h"
#include "train/data_parallel.h"
#include "train/trainer.h"

namespace ttt {

// body(trainer, ranks) with the trainer of this rank; ranks: null for a process alone.
template <class Body>
void with_trainer(const RunConfig& c, const World& world, const Body& body) {
  const auto ranks = connect_ranks(c, world);
  TrainerOptions options;
  options.quiet = true;
  options.ranks = ranks.get();
  const auto run = [&] {
    Trainer trainer(c, options);
    body(trainer, ranks.get());
  };
  ranks ? ranks->guarded(run) : run();
}

}  // namespace ttt
