// The composed row against the reference: any inner net, several segments, any strides. Every row of the table on the
// paper's nets: ttt_rows_test.cpp.
#include "ops/ttt_testing.h"

namespace ttt {
namespace {

using testing::Arguments;
using testing::expect_close;
using testing::random_grad;
using testing::reference;
using testing::Result;
using testing::run;
using testing::Sizes;

const TttKernel& composed(const TttNet& net) {
  const TttKernels& kernels = ttt_kernels(net);
  return kernels[kernels.find("composed", "the test")];
}

// Within a segment of 16 mini-batches, at its end, one token over, and over several with a short last mini-batch.
TEST(TttComposed, AgreesWithTheReferenceOnEveryNet) {
  const testing::SingleThread single_thread;
  const testing::PoisonedMemory poison;
  for (const TttNet& net : testing::all_nets()) {
    for (const std::int64_t mini_batch : {1, 3, 8}) {
      for (const std::int64_t time : {1, 16, 48, 49, 131}) {
        const Sizes s{net, 2, 3, time, 6, mini_batch};
        // Small steps: 131 large ones of one token multiply rounding, and without a LayerNorm diverge.
        const Arguments a = testing::random_arguments(s, 1, net.learner.layer_norm ? 0.5 : 0.02);
        const at::Tensor grad_o = random_grad(s);
        expect_close(run(composed(s.net), s, a, grad_o), run(reference(s.net), s, a, grad_o), 1e-10,
                     (std::ostringstream() << s).str());
      }
    }
  }
}

// Inputs of any layout: expanded and transposed tensors have strides that no buffer has.
TEST(TttComposed, TakesAnyStrides) {
  const testing::SingleThread single_thread;
  for (const TttNet& net : testing::all_nets()) {
    const Sizes s{net, 2, 2, 19, 6, 8};
    Arguments a = testing::random_arguments(s);
    a.inputs.k_BHTK = at::randn({2, 2, 6, 19}, at::kDouble).transpose(2, 3);
    a.inputs.sigma_BHT = a.inputs.sigma_BHT.select(2, 0).unsqueeze(2).expand({2, 2, 19});
    const at::Tensor grad_o = at::ones({}, at::kDouble).expand({2, 2, 19, 6});
    expect_close(run(composed(s.net), s, a, grad_o), run(reference(s.net), s, a, grad_o), 1e-11,
                 (std::ostringstream() << "strides, " << s).str());
  }
}

}  // namespace
}  // namespace ttt
