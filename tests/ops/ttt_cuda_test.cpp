// The CUDA row of the TTT kernel table, its kernels run by emulated lanes: what the op hands them and gets back.
#include "base/error.h"
#include "kernels/cuda/kernel_table.h"
#include "ops/cuda_target.h"
#include "ops/ttt_testing.h"

namespace ttt {
namespace {

using testing::Arguments;
using testing::Result;
using testing::Sizes;

const TttKernel& cuda_row(const TttNet& net) {
  return ttt_kernels(net).front();
}

// q, k and v rounded to bf16.
Arguments with_bf16_tokens(Arguments a) {
  for (at::Tensor* x : {&a.inputs.q_BHTK, &a.inputs.k_BHTK, &a.inputs.v_BHTK}) *x = x->to(at::kBFloat16);
  return a;
}
Arguments widened(Arguments a) {
  for (at::Tensor* x : a.all()) *x = x->to(at::kDouble);
  return a;
}

void expect_near(const Result& actual, const Result& expected, double tolerance, const std::string& what) {
  const auto close = [&](const at::Tensor& x, const at::Tensor& y, const std::string& name) {
    EXPECT_EQ(x.sizes(), y.sizes()) << what << ", " << name;
    EXPECT_LE((x.to(at::kDouble) - y).norm().item<double>(), tolerance * y.norm().item<double>())
        << what << ", " << name;
  };
  close(actual.o, expected.o, "o");
  const auto gradients = testing::named(actual.gradients), right = testing::named(expected.gradients);
  for (std::size_t i = 0; i < right.size(); ++i) close(gradients[i].second, right[i].second, right[i].first);
}

class CudaRow : public ::testing::TestWithParam<TttNet> {
 protected:
  const testing::SingleThread single_thread_;
  const testing::PoisonedMemory poison_;
  const EmulatedGpu gpu_{kernels::cuda::emulated::kernels()};
};
INSTANTIATE_TEST_SUITE_P(TttKernels, CudaRow, testing::the_papers_nets(), testing::name_of_param());

// Two sequences and heads, of strided and of contiguous tensors, a tail. Products of bf16 operands round by 2^-9; fp32
// ones keep 16 bits.
TEST_P(CudaRow, AgreesWithTheReference) {
  const Sizes s{GetParam(), 2, 2, 37, 64, 16, at::kFloat};
  const Arguments a = testing::random_arguments(s), bf16 = with_bf16_tokens(a);
  const at::Tensor grad_o = testing::random_grad(s), grad_bf16 = grad_o.to(at::kBFloat16);
  expect_near(testing::run(cuda_row(s.net), s, a, grad_o),
              testing::run(testing::reference(s.net), s, widened(a), grad_o.to(at::kDouble)), 4e-5, "fp32");
  const Result result = testing::run(cuda_row(s.net), s, bf16, grad_bf16);
  EXPECT_EQ(result.o.scalar_type(), at::kBFloat16);
  EXPECT_EQ(result.gradients.inputs.q_BHTK.scalar_type(), at::kBFloat16);
  EXPECT_EQ(result.gradients.initial[0].scalar_type(), at::kFloat);
  expect_near(result, testing::run(testing::reference(s.net), s, widened(bf16), grad_bf16.to(at::kDouble)), 1.2e-2,
              "bf16");
}

// Through autograd, as a layer calls it: the row is chosen by itself, gradients have their tensors' types.
TEST_P(CudaRow, IsChosenAndDifferentiated) {
  const Sizes s{GetParam(), 1, 2, 20, 64, 16, at::kFloat};
  Arguments a = with_bf16_tokens(testing::random_arguments(s));
  for (auto& [name, x] : a.named()) x.requires_grad_(true);
  ASSERT_TRUE(ttt_takes_bf16(s.net, {1, 2, 20, 64, 16, at::kFloat, at::kCPU}));
  const at::Tensor grad_o = testing::random_grad(s).to(at::kBFloat16);
  const at::Tensor o = ttt_forward(s.net, a.inputs, a.weights, 16);
  o.backward(grad_o);
  const Result alone = testing::run(cuda_row(s.net), s, a, grad_o);
  EXPECT_TRUE(at::equal(o, alone.o));
  const auto arguments = a.named(), gradients = testing::named(alone.gradients);
  for (std::size_t i = 0; i < gradients.size(); ++i)
    EXPECT_TRUE(at::equal(arguments[i].second.grad(), gradients[i].second)) << gradients[i].first;
}

// Heads whose rows cannot be copied by 16 bytes are copied first.
TEST_P(CudaRow, TakesAnyStrides) {
  const Sizes s{GetParam(), 1, 1, 18, 64, 16, at::kFloat};
  Arguments a = with_bf16_tokens(testing::random_arguments(s)), odd = a;
  odd.inputs.q_BHTK =
      at::cat({a.inputs.q_BHTK, a.inputs.q_BHTK}, -1).slice(3, 0, 64).as_strided({1, 1, 18, 64}, {1, 1, 128, 1});
  odd.inputs.k_BHTK =
      at::cat({a.inputs.k_BHTK.flatten(), at::zeros({1}, at::kBFloat16)}).roll(1).slice(0, 1).view({1, 1, 18, 64});
  odd.inputs.v_BHTK = a.inputs.v_BHTK.transpose(2, 3).contiguous().transpose(2, 3);
  EXPECT_TRUE(at::equal(cuda_row(s.net).run.forward(s.net, odd.inputs, odd.weights, 16, nullptr),
                        cuda_row(s.net).run.forward(s.net, a.inputs, a.weights, 16, nullptr)));
}

TEST(CudaRowTable, SaysWhatItCannotTake) {
  const TttShape shape{1, 2, 40, 64, 16, at::kFloat, at::kCPU};
  const auto reason = [&](auto change) {
    TttShape changed = shape;
    change(changed);
    return why_not(cuda_row(ttt_linear_net()).needs, call_of(changed));
  };
  EXPECT_EQ(reason([](TttShape&) {}), "it runs on a GPU");
  EXPECT_FALSE(ttt_takes_bf16(ttt_linear_net(), shape));
  const EmulatedGpu gpu(kernels::cuda::emulated::kernels());
  EXPECT_EQ(reason([](TttShape&) {}), "");
  EXPECT_EQ(reason([](TttShape& s) { s.dtype = at::kDouble; }), "it takes bf16 and fp32, not Double");
  EXPECT_EQ(reason([](TttShape& s) { s.mini_batch = 8; }), "its mini-batches have 16 tokens, not 8");
  EXPECT_EQ(reason([](TttShape& s) { s.head_dim = 32; }), "its head sizes are 64 and 96, not 32");
  for (const TttNet& net : testing::other_nets()) {
    TttShape of_net = shape;
    of_net.variant = net.variant();
    EXPECT_EQ(why_not(cuda_row(net).needs, call_of(of_net)), cat("it does not take ", net.variant()));
  }
}

// A card with 99 KB a block (sm_86, 89 and 120) keeps what fits: TTT-Linear whole; of TTT-MLP the forward pass and
// decoding, whose long prompts the forward kernel takes where it fits and the kernel of decoding where it does not.
TEST(CudaRowOnASmallCard, ForwardBackwardAndDecodingAreJudgedOneByOne) {
  const testing::SingleThread single_thread;
  TttShape shape{1, 1, 32, 64, 16, at::kBFloat16, at::kCPU};
  const auto reason = [&](const TttNet& net, KernelPass pass, std::int64_t head_dim) {
    shape.pass = pass, shape.head_dim = head_dim;
    return why_not(cuda_row(net).needs, call_of(shape));
  };
  const TttNet &linear = ttt_linear_net(), &mlp = ttt_mlp_net();
  const EmulatedGpu gpu(kernels::cuda::emulated::kernels(), 99 << 10);
  for (const std::int64_t head_dim : {64, 96}) {
    for (const KernelPass pass : {KernelPass::kTraining, KernelPass::kForward, KernelPass::kDecoding})
      EXPECT_EQ(reason(linear, pass, head_dim), "") << head_dim;
    EXPECT_EQ(reason(mlp, KernelPass::kDecoding, head_dim), "");
  }
  EXPECT_EQ(reason(mlp, KernelPass::kForward, 64), "");
  EXPECT_NE(reason(mlp, KernelPass::kTraining, 64).find("bytes of shared memory in training, this GPU has 101376"),
            std::string::npos);
  EXPECT_NE(reason(mlp, KernelPass::kForward, 96).find("bytes of shared memory, this GPU has 101376"),
            std::string::npos);

  // What is computed again for the backward pass is in training the first time, too.
  {
    const at::NoGradGuard no_grad;
    shape.head_dim = 64;
    EXPECT_TRUE(ttt_takes_bf16(mlp, shape));
    const ToBeComputedAgain in_training;
    EXPECT_FALSE(ttt_takes_bf16(mlp, shape));
  }

  // The op itself, without gradients: the CUDA row; a prompt of whole mini-batches with the kernel that fits.
  for (const std::int64_t head_dim : {64, 96}) {
    const Sizes s{mlp, 1, 2, 37, head_dim, 16, at::kFloat};
    const Arguments a = with_bf16_tokens(testing::random_arguments(s));
    const std::int64_t before = ttt_kernels(mlp).taken(0);
    const at::NoGradGuard no_grad;
    const auto decoded = [&] {
      TttState state = ttt_initial_state(a.weights, 1, 16);
      return ttt_advance(mlp, a.inputs, state).to(at::kDouble);
    };
    if (head_dim == 64) {
      ttt_forward(mlp, a.inputs, a.weights, 16);
      EXPECT_EQ(ttt_kernels(mlp).taken(0), before + 1);
    }
    const Result right = testing::run(testing::reference(mlp), s, widened(a), testing::random_grad(s).to(at::kDouble));
    EXPECT_LE((decoded() - right.o).norm().item<double>(), 2e-2 * right.o.norm().item<double>()) << head_dim;
  }
}

}  // namespace
}  // namespace ttt
