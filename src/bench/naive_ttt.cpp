#include "bench/naive_ttt.h"

#include "base/error.h"
#include "ops/ttt_kernels.h"

namespace ttt {

at::Tensor naive_ttt(const TttNet& net, const TttInputs& inputs, const TttWeights& initial,
                     std::int64_t mini_batch_size) {
  TTT_CHECK(inputs.scale_C.size(0) == mini_batch_size, "scale has ", inputs.scale_C.size(0), " factors");
  return sequence_forward(net, inputs, initial);
}

}  // namespace ttt
