// Sums of gradients over real processes: right, with the same bits everywhere, after accumulation, and cut into shares.
#include "dist/gradient_reducer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <csignal>

#include "support/ranks.h"

namespace ttt {
namespace {

constexpr std::chrono::seconds kPatience{60};

struct Parameters {
  // Sizes that no number of ranks divides, in several buckets of 1 KiB.
  Parameters() {
    for (const std::int64_t size : {301, 7, 128, 1, 555, 64}) {
      at::Tensor tensor = at::sin(at::arange(size, at::kFloat) + static_cast<float>(size));
      named.emplace_back(cat("p", named.size()), tensor.requires_grad_(true));
    }
  }

  // A loss whose gradients depend on rank and micro-batch.
  at::Tensor loss(int rank, int part) const {
    at::Tensor sum = at::zeros({});
    for (const auto& [name, p] : named) sum = sum + (p * p * p).sum() * static_cast<float>(rank + 1 + 10 * part);
    return sum;
  }

  std::vector<std::pair<std::string, at::Tensor>> named;
};

ReducerOptions in_small_buckets() {
  ReducerOptions options;
  options.bucket_bytes = 1024;
  return options;
}

TEST(GradientReducer, SumsMicroBatchesAndRanks) {
  for (const int size : {2, 3, 4}) {
    expect_all_ok(run_ranks(size, [&](const World& world) {
      Communicator ranks(world, at::kCPU, kPatience);
      Parameters parameters;
      GradientReducer reducer(ranks, parameters.named, in_small_buckets());
      for (int step = 0; step < 3; ++step) {
        reducer.zero_gradients();
        reducer.backward(parameters.loss(world.rank, 0), false);
        reducer.backward(parameters.loss(world.rank, 1), true);
        double factor = 0, squares = 0;
        for (int rank = 0; rank < size; ++rank) factor += 2 * (rank + 1) + 10;
        for (const auto& [name, p] : parameters.named) {
          const at::Tensor expected = 3 * p.detach() * p.detach() * factor;
          EXPECT_TRUE(at::allclose(p.grad(), expected, 1e-5)) << name << " step " << step;
          squares += expected.to(at::kDouble).square().sum().item<double>();
        }
        EXPECT_NEAR(ranks.sum({reducer.own_squares().item<double>()}).front() / squares, 1, 1e-6);
      }
    }));
  }
}

TEST(GradientReducer, EachElementIsOwnedOnceAndGathered) {
  for (const int size : {2, 3, 5}) {
    expect_all_ok(run_ranks(size, [&](const World& world) {
      Communicator ranks(world, at::kCPU, kPatience);
      Parameters parameters;
      GradientReducer reducer(ranks, parameters.named, in_small_buckets());
      const at::Tensor first = at::arange(555, at::kFloat);  // of each parameter: what it is to become
      std::vector<std::size_t> updated;
      reducer.update_parameters([&](const std::vector<std::size_t>& some) {
        const torch::NoGradGuard no_grad;
        for (const std::size_t i : some) {
          const ElementRange piece = reducer.own_pieces()[i];
          at::Tensor flat = parameters.named[i].second.view(-1);
          flat.slice(0, piece.first, piece.last).copy_(first.slice(0, piece.first, piece.last) + static_cast<float>(i));
          updated.push_back(i);
        }
      });
      std::sort(updated.begin(), updated.end());
      EXPECT_EQ(updated, (std::vector<std::size_t>{0, 1, 2, 3, 4, 5}));
      std::int64_t elements = 0;
      for (std::size_t i = 0; i < parameters.named.size(); ++i) {
        const at::Tensor flat = parameters.named[i].second.detach().view(-1);
        EXPECT_TRUE(at::equal(flat, first.slice(0, 0, flat.numel()) + static_cast<float>(i))) << i;
        elements += reducer.own_pieces()[i].last - reducer.own_pieces()[i].first;
      }
      EXPECT_EQ(ranks.sum({static_cast<double>(elements)}).front(), 301 + 7 + 128 + 1 + 555 + 64);
    }));
  }
}

TEST(GradientReducer, TheOwnShareHasTheBitsOfTheWholeSum) {
  expect_all_ok(run_ranks(3, [](const World& world) {
    Communicator ranks(world, at::kCPU, kPatience);
    Parameters whole, shared;
    ReducerOptions options = in_small_buckets();
    GradientReducer all(ranks, whole.named, options);
    options.own_share_only = true;
    GradientReducer own(ranks, shared.named, options);
    all.backward(whole.loss(world.rank, 0), true);
    own.backward(shared.loss(world.rank, 0), true);
    EXPECT_TRUE(at::equal(all.own_squares(), own.own_squares()));
    for (std::size_t i = 0; i < whole.named.size(); ++i) {
      const ElementRange piece = own.own_pieces()[i];
      EXPECT_TRUE(at::equal(whole.named[i].second.grad().slice(0, piece.first, piece.last),
                            shared.named[i].second.grad().slice(0, piece.first, piece.last)));
    }
  }));
}

TEST(GradientReducer, Bf16SumsAreRoundedOnes) {
  expect_all_ok(run_ranks(2, [](const World& world) {
    Communicator ranks(world, at::kCPU, kPatience);
    Parameters parameters;
    ReducerOptions options = in_small_buckets();
    options.bf16 = true;
    GradientReducer reducer(ranks, parameters.named, options);
    reducer.backward(parameters.loss(world.rank, 0), true);
    for (const auto& [name, p] : parameters.named) {
      const at::Tensor expected = 9 * p.detach() * p.detach();
      EXPECT_TRUE(at::allclose(p.grad(), expected, 0.02)) << name;
      EXPECT_TRUE(at::equal(p.grad(), p.grad().to(at::kBFloat16).to(at::kFloat))) << name;
    }
  }));
}

TEST(GradientReducer, ARankThatIsKilledInTheBackwardPassIsNamed) {
  const auto ends = run_ranks(3, [](const World& world) {
    Communicator ranks(world, at::kCPU, kPatience);
    Parameters parameters;
    GradientReducer reducer(ranks, parameters.named, in_small_buckets());
    for (int step = 1;; ++step) {
      ranks.set_step(step);
      reducer.zero_gradients();
      if (step == 3 && world.rank == 1) raise(SIGKILL);
      reducer.backward(parameters.loss(world.rank, 0), true);
    }
  });
  for (const int rank : {0, 2}) {
    const RankEnd& end = ends[static_cast<std::size_t>(rank)];
    EXPECT_EQ(end.code, 1);
    EXPECT_TRUE(end.message.starts_with(cat("rank ", rank, ", step 3: the sum of gradients failed, and rank 1 does")))
        << end.message;
  }
}

TEST(GradientReducer, AnErrorOfTheBackwardPassItselfStaysWhatItIs) {
  const auto ends = run_ranks(1, [](const World& world) {
    Communicator ranks(world, at::kCPU, kPatience);
    Parameters parameters;
    GradientReducer reducer(ranks, parameters.named, in_small_buckets());
    reducer.backward(parameters.named[0].second, true);  // not a scalar
  });
  EXPECT_NE(ends[0].message.find("scalar"), std::string::npos) << ends[0].message;
}

}  // namespace
}  // namespace ttt
