// The TTT ops for `ttt bench op`: every row of the kernel table against the naive op, all held to the composed row in
// fp64.
#include <ATen/ATen.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>

#include "base/error.h"
#include "bench/inner_products.h"
#include "bench/naive_ttt.h"
#include "bench/op_case.h"
#include "ops/ttt.h"

namespace ttt {
namespace {

// The reference's plain loops are not made to be fast.
constexpr std::int64_t kReferenceTokens = 64;
constexpr std::int64_t kReferenceTokenHeads = 512;  // in fp64, to hold others against it

constexpr std::size_t kInputs = 7;

// An op's arguments as one list, the weights last.
Tensors flat(const TttInputs& inputs, const TttWeights& weights) {
  Tensors all = {inputs.q_BHTK,  inputs.k_BHTK,  inputs.v_BHTK, inputs.sigma_BHT,
                 inputs.scale_C, inputs.gain_HK, inputs.bias_HK};
  all.insert(all.end(), weights.begin(), weights.end());
  return all;
}

TttInputs inputs_of(const Tensors& all) {
  return {all[0], all[1], all[2], all[3], all[4], all[5], all[6]};
}

TttWeights weights_of(const Tensors& all) {
  return {all.begin() + kInputs, all.end()};
}

// Arguments in fp64 of the sizes that a layer's have at the start of a training; values of a fixed seed.
Tensors random_arguments(const TttNet& net, const OpSizes& s) {
  RandomTensors random(s);
  const auto normal = [&](at::IntArrayRef sizes, double std_dev) { return random.normal(sizes, std_dev); };
  const std::int64_t B = s.batch, H = s.heads, T = s.context, K = s.head_dim, C = s.mini_batch;
  const double base_lr = net.layers.size() == 1 ? 1.0 : 0.1;
  TttInputs inputs;
  inputs.q_BHTK = normal({B, H, T, K}, 0.5);
  inputs.k_BHTK = normal({B, H, T, K}, 0.5);
  inputs.v_BHTK = normal({B, H, T, K}, 0.5);
  inputs.sigma_BHT = at::sigmoid(normal({B, H, T}, 0.5)) * (base_lr / static_cast<double>(K));
  inputs.scale_C = at::arange(1, C + 1, at::kDouble).reciprocal();
  inputs.gain_HK = 1 + normal({H, K}, 0.1);
  inputs.bias_HK = normal({H, K}, 0.1);
  TttWeights weights;
  for (std::size_t l = 0; l < net.layers.size(); ++l) {
    const std::int64_t in = l == 0 ? K : 4 * K, out = l + 1 == net.layers.size() ? K : 4 * K;
    weights.push_back(normal({H, in, out}, 0.02));
    weights.push_back(normal({H, 1, out}, 0.02));
  }
  return flat(inputs, weights);
}

Tensors run_row(const TttKernel& row, const TttNet& net, const Tensors& arguments, std::int64_t mini_batch,
                const at::Tensor& grad_o) {
  const torch::NoGradGuard no_grad;
  const TttInputs inputs = inputs_of(arguments);
  const TttWeights weights = weights_of(arguments);
  TttSaved saved;
  Tensors all = {row.run.forward(net, inputs, weights, mini_batch, &saved)};
  const TttGradients gradients = row.run.backward(net, grad_o, inputs, weights, mini_batch, saved);
  const Tensors flat_gradients = flat(gradients.inputs, gradients.initial);
  all.insert(all.end(), flat_gradients.begin(), flat_gradients.end());
  return all;
}

// Which row of the table says what is right: the specification where its plain loops take a moment, else the composed
// row.
const TttKernel& exact_row(const TttNet& net, const OpSizes& s) {
  const char* name = s.batch * s.heads * s.context <= kReferenceTokenHeads ? "reference" : "composed";
  return ttt_kernels(net)[ttt_kernels(net).find(name, "the benchmark")];
}

// Sequences of one length: arguments, q, k and v of type `tokens`, and what they should give.
struct Problem {
  OpSizes sizes;
  Tensors arguments;
  at::Tensor grad_o;
  std::shared_ptr<const Tensors> exact;

  Problem(const TttNet& net, const OpSizes& s, at::ScalarType tokens) : sizes(s) {
    Tensors drawn = to_type(random_arguments(net, s), at::kFloat);
    for (std::size_t i = 0; i < 3; ++i) drawn[i] = drawn[i].to(tokens);
    const at::Tensor drawn_grad = RandomTensors(s, /*seed=*/2).normal(drawn[0].sizes(), 1).to(tokens);
    // From the rounded arguments: rounding them is not the kernels' error.
    if (s.exact)
      exact = std::make_shared<const Tensors>(
          run_row(exact_row(net, s), net, to_type(drawn, at::kDouble), s.mini_batch, drawn_grad.to(at::kDouble)));
    arguments = to_device(drawn, s.device);
    grad_o = drawn_grad.to(s.device);
  }

  double units() const { return static_cast<double>(sizes.batch * sizes.heads * sizes.context); }
};

// The problem of each type that q, k and v are handed over in; one that no row takes is never made.
class Problems {
 public:
  Problems(const TttNet& net, const OpSizes& sizes) : net_(net), sizes_(sizes) {}
  std::shared_ptr<const Problem> with(at::ScalarType tokens) {
    std::shared_ptr<const Problem>& problem = tokens == at::kBFloat16 ? bf16_ : fp32_;
    if (!problem) problem = std::make_shared<const Problem>(net_, sizes_, tokens);
    return problem;
  }

 private:
  TttNet net_;
  OpSizes sizes_;
  std::shared_ptr<const Problem> fp32_, bf16_;
};

// The op as layers call it.
OpFunction ttt_op(const TttNet& net, const OpSizes& s) {
  return [net, C = s.mini_batch, bf16 = s.dtype == at::kBFloat16](const Tensors& leaves) {
    TttInputs inputs = inputs_of(leaves);
    inputs.bf16_products = bf16;
    return ttt_forward(net, inputs, weights_of(leaves), C);
  };
}

Contender row_contender(std::size_t row, const TttNet& net, const std::shared_ptr<const Problem>& problem) {
  const TttKernels& kernels = ttt_kernels(net);
  Contender contender = autograd_contender(kernels[row].name, problem->units(), problem->arguments, problem->grad_o,
                                           on_row(kernels, row, ttt_op(net, problem->sizes)));
  contender.exact = problem->exact;
  return contender;
}

// Decoding: most of the sequence at once, which ends inside a mini-batch, then token by token.
at::Tensor decode(const TttNet& net, const Problem& problem) {
  constexpr std::int64_t kSteps = 19;
  const TttInputs all = inputs_of(problem.arguments);
  const std::int64_t T = problem.sizes.context, prompt = std::max<std::int64_t>(T - kSteps, 0);
  TttState state = ttt_initial_state(weights_of(problem.arguments), problem.sizes.batch, problem.sizes.mini_batch);
  Tensors parts;
  for (std::int64_t begin = 0; begin < T;) {
    const std::int64_t count = begin < prompt ? prompt : 1;
    TttInputs some = all;
    for (at::Tensor* x : {&some.q_BHTK, &some.k_BHTK, &some.v_BHTK, &some.sigma_BHT}) *x = x->narrow(2, begin, count);
    parts.push_back(ttt_advance(net, some, state));
    begin += count;
  }
  return at::cat(parts, 2);
}

Contender decoding_contender(const TttNet& net, const std::shared_ptr<const Problem>& problem) {
  Contender contender;
  contender.name = "decoding";
  contender.units = problem->units();
  if (problem->exact) contender.exact = std::make_shared<const Tensors>(Tensors{problem->exact->front()});
  contender.forward = [net, problem] {
    const torch::NoGradGuard no_grad;
    return Tensors{decode(net, *problem)};
  };
  return contender;
}

// LibTorch's, of the same sizes: what an inner loop replaces.
Contender attention_contender(const OpSizes& s) {
  OpCase op = attention_case(s);
  Contender contender = std::move(op.contenders.front());
  contender.name = "attention";
  contender.note = "LibTorch's scaled_dot_product_attention of the same sizes, by its own FLOP";
  contender.work = op.work;
  return contender;
}

OpCase ttt_case(const TttNet& net, const OpSizes& s) {
  OpCase op;
  op.unit = "token-head";
  op.work.forward = inner_forward_flops(net, s.head_dim, s.mini_batch);
  op.work.forward_backward = op.work.forward + inner_backward_flops(net, s.head_dim, s.mini_batch);
  op.work_note = net.layers.size() == 1 ? "6 K^2 + 4 C K forward, twice that backward; what the backward pass "
                                          "computes again is not counted"
                                        : "56 K^2 + 20 C K forward, twice that backward; what the backward pass "
                                          "computes again is not counted";
  Problems problems(net, s);
  const TttKernels& kernels = ttt_kernels(net);
  for (std::size_t i = 0; i < kernels.size(); ++i) {
    const TttKernel& row = kernels[i];
    KernelCall call = kernels.call_in_model(s.device, s.dtype == at::kBFloat16, s.head_dim, s.mini_batch);
    // In a model in bf16 most rows take fp32 all the same.
    KernelCall rounded = call;
    rounded.dtype = at::kBFloat16;
    if (call.bf16_products && kernels.takes(i, rounded)) call = rounded;
    if (const std::string reason = kernels.why_not(i, call); !reason.empty()) {
      op.left_out.push_back(row.name + ": " + reason);
    } else if (row.name == "reference") {
      OpSizes short_sizes = s;
      short_sizes.context = std::min(s.context, kReferenceTokens);
      Contender contender = row_contender(i, net, std::make_shared<const Problem>(net, short_sizes, at::kFloat));
      contender.note = cat("sequences of ", short_sizes.context, " tokens, one thread");
      op.contenders.push_back(std::move(contender));
    } else {
      op.contenders.push_back(row_contender(i, net, problems.with(call.dtype)));
    }
  }
  const std::shared_ptr<const Problem> problem = problems.with(at::kFloat);
  op.as_called =
      autograd_contender("", problem->units(), problem->arguments, problem->grad_o, ttt_op(net, s)).forward_backward;
  if (s.checked_only) op.contenders.push_back(decoding_contender(net, problem));
  if (s.attention) op.contenders.push_back(attention_contender(s));
  Contender naive = autograd_contender("naive", problem->units(), problem->arguments, problem->grad_o,
                                       [net, C = s.mini_batch](const Tensors& leaves) {
                                         return naive_ttt(net, inputs_of(leaves), weights_of(leaves), C);
                                       });
  naive.exact = problem->exact;
  naive.note = "batched ATen calls, autograd";
  op.contenders.push_back(std::move(naive));
  return op;
}

}  // namespace

OpCase ttt_linear_case(const OpSizes& sizes) {
  return ttt_case(ttt_linear_net(), sizes);
}

OpCase ttt_mlp_case(const OpSizes& sizes) {
  return ttt_case(ttt_mlp_net(), sizes);
}

}  // namespace ttt
