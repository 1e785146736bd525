#include "bench/collectives.h"

#include <ATen/ops/zeros.h>

#include <functional>

#include "base/timer.h"

namespace ttt {
namespace {

constexpr std::size_t kMostCollectives = 7;  // repeats
constexpr double kCollectiveSeconds = 3;     // after which a collective is not repeated
constexpr std::int64_t kBucketBytes = std::int64_t{64} << 20;

}  // namespace

std::vector<CollectiveTime> time_collectives(Communicator& ranks) {
  const double share = 1.0 / ranks.size();
  const auto numbers = kBucketBytes / 4 / ranks.size() * ranks.size();
  const auto options = at::TensorOptions(ranks.device()).dtype(at::kFloat);
  at::Tensor one = at::zeros({1}, options), all = at::zeros({numbers}, options);
  at::Tensor own = at::zeros({numbers / ranks.size()}, options);
  const auto time = [&](const char* name, const at::Tensor& tensor, double sent, const std::function<void()>& call) {
    const auto timed = [&] {
      ranks.barrier();
      const Timer timer;
      call();
      if (tensor.is_cuda()) tensor[0].item();  // waits for the device
      return timer.seconds();
    };
    timed();
    std::vector<double> seconds;
    const Timer all_repeats;
    do {
      seconds.push_back(timed());
    } while (seconds.size() < kMostCollectives && !ranks.any(all_repeats.seconds() > kCollectiveSeconds));
    const auto bytes = static_cast<std::int64_t>(tensor.nbytes());
    return CollectiveTime{name, bytes, spread_of(seconds), sent * static_cast<double>(bytes)};
  };
  return {time("all-reduce", one, 2 * (1 - share), [&] { ranks.all_reduce(one); }),
          time("all-reduce", all, 2 * (1 - share), [&] { ranks.all_reduce(all); }),
          time("reduce-scatter", all, 1 - share, [&] { ranks.reduce_scatter(own, all); }),
          time("all-gather", all, 1 - share, [&] { ranks.all_gather(all, own); })};
}

}  // namespace ttt
