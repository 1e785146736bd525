// The CUDA row of the TTT kernel table, its kernels run by emulated lanes: what the op hands them and gets back.
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
}

}  // namespace
}  // namespace ttt
