// The gated delta rule for `ttt bench op`: every row of the kernel table against the recurrence token by token, all
// held to the composed row in fp64.
//
// Shapes: B batch, H heads, T time, K the keys' head size, V the values'.
#include <ATen/ATen.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>

#include "arch/mixer/gated_deltanet.h"
#include "base/error.h"
#include "bench/op_case.h"
#include "kernels/cpu/gated_delta_fused.h"
#include "ops/gated_delta.h"

namespace ttt {
namespace {

static_assert(kDeltaNetChunk == kernels::kDeltaChunk, "the count of operations is that of the fused rows");

constexpr std::int64_t kDeltaReferenceTokens = 64;
// autograd keeps some four states of every token.
constexpr double kNaiveBytes = 2e9;

GatedDeltaInputs delta_inputs(const Tensors& t) {
  return {t[0], t[1], t[2], t[3], t[4]};
}

// The recurrence as it is usually written: one token after the other, a handful of batched ATen calls each, autograd.
at::Tensor naive_gated_delta(const Tensors& t) {
  const std::int64_t B = t[0].size(0), H = t[0].size(1), T = t[0].size(2), K = t[0].size(3), V = t[2].size(3);
  const auto unit = [](const at::Tensor& x) { return x * (x.square().sum(-1, true) + 1e-6).rsqrt(); };
  const auto tokens = [&](const at::Tensor& x) { return x.reshape({B * H, T, -1}).unbind(1); };
  const auto q = tokens(unit(t[0]) / std::sqrt(static_cast<double>(K))), k = tokens(unit(t[1])), v = tokens(t[2]),
             alpha = tokens(t[3].exp()), beta = tokens(t[4]);
  at::Tensor S = at::zeros({B * H, K, V}, t[3].options().requires_grad(false));
  Tensors rows;
  for (std::size_t i = 0; i < q.size(); ++i) {
    S = S * alpha[i].unsqueeze(2);
    const at::Tensor error = v[i].unsqueeze(1) - at::bmm(k[i].unsqueeze(1), S);
    S = at::baddbmm(S, k[i].unsqueeze(2), beta[i].unsqueeze(1) * error);
    rows.push_back(at::bmm(q[i].unsqueeze(1), S).squeeze(1));
  }
  return at::stack(rows, 1).view({B, H, T, V});
}

Tensors run_delta_row(const GatedDeltaKernel& row, const Tensors& arguments, const at::Tensor& grad_o) {
  const torch::NoGradGuard no_grad;
  GatedDeltaSaved saved;
  const at::Tensor o = row.run.forward(delta_inputs(arguments), nullptr, &saved);
  const GatedDeltaInputs d = row.run.backward(grad_o, delta_inputs(arguments), saved);
  return {o, d.q_BHTK, d.k_BHTK, d.v_BHTV, d.g_BHT, d.beta_BHT};
}

const GatedDeltaKernel& delta_row_named(const std::string& name) {
  for (const GatedDeltaKernel& row : gated_delta_kernels()) {
    if (row.name == name) return row;
  }
  fail("no row '", name, "' in the gated delta rule's kernel table");
}

// Arguments as a layer has them at the start of a training, and what they should give.
struct DeltaProblem {
  Tensors arguments;
  at::Tensor grad_o;
  std::shared_ptr<const Tensors> exact;
  double units;

  DeltaProblem(const OpSizes& s, std::int64_t V) : units(static_cast<double>(s.batch * s.heads * s.context)) {
    RandomTensors random(s);
    const std::int64_t B = s.batch, H = s.heads, T = s.context, K = s.head_dim;
    Tensors drawn = {random.normal({B, T, H, K}, 0.5).transpose(1, 2), random.normal({B, T, H, K}, 0.5).transpose(1, 2),
                     random.normal({B, T, H, V}, 0.5).transpose(1, 2), -0.1 * random.normal({B, H, T}, 1).exp(),
                     at::sigmoid(random.normal({B, H, T}, 1))};
    // In a model in bf16 the op is handed bf16 rows, which it widens: their values are what it computes with.
    for (std::size_t i = 0; i < 3; ++i) drawn[i] = drawn[i].to(s.dtype);
    drawn = to_type(drawn, at::kFloat);
    const at::Tensor drawn_grad = RandomTensors(s, /*seed=*/2).normal({B, H, T, V}, 1).to(at::kFloat);
    if (s.exact)
      exact = std::make_shared<const Tensors>(
          run_delta_row(delta_row_named("composed"), to_type(drawn, at::kDouble), drawn_grad.to(at::kDouble)));
    arguments = to_device(drawn, s.device);
    grad_o = drawn_grad.to(s.device);
  }
};

Contender delta_contender(const GatedDeltaKernel& row, const std::shared_ptr<const DeltaProblem>& problem) {
  Contender contender;
  contender.name = row.name;
  contender.units = problem->units;
  contender.exact = problem->exact;
  contender.forward = [&row, problem] {
    const torch::NoGradGuard no_grad;
    return Tensors{row.run.forward(delta_inputs(problem->arguments), nullptr, /*saved=*/nullptr)};
  };
  contender.forward_backward = [&row, problem] { return run_delta_row(row, problem->arguments, problem->grad_o); };
  return contender;
}

// Most of the sequence at once, then token by token.
Contender delta_decoding(const std::shared_ptr<const DeltaProblem>& problem) {
  Contender contender;
  contender.name = "decoding";
  contender.units = problem->units;
  if (problem->exact) contender.exact = std::make_shared<const Tensors>(Tensors{problem->exact->front()});
  contender.forward = [problem] {
    constexpr std::int64_t kSteps = 19;
    const torch::NoGradGuard no_grad;
    const Tensors& all = problem->arguments;
    const std::int64_t T = all[0].size(2), prompt = std::max<std::int64_t>(T - kSteps, 0);
    at::Tensor state = at::zeros({all[0].size(0), all[0].size(1), all[0].size(3), all[2].size(3)}, all[3].options());
    Tensors parts;
    for (std::int64_t begin = 0; begin < T;) {
      const std::int64_t count = begin < prompt ? prompt : 1;
      Tensors some;
      for (const at::Tensor& x : all) some.push_back(x.narrow(2, begin, count));
      parts.push_back(gated_delta_advance(delta_inputs(some), state));
      begin += count;
    }
    return Tensors{at::cat(parts, 2)};
  };
  return contender;
}

}  // namespace

OpCase gated_delta_case(const OpSizes& s) {
  const std::int64_t V = 2 * s.head_dim;
  const double K = static_cast<double>(s.head_dim), values = static_cast<double>(V);
  OpCase op;
  op.unit = "token-head";
  op.work.forward = deltanet_flops(s.head_dim, V);
  op.work.forward_backward = 3 * op.work.forward;
  op.work_note =
      cat("K = ", s.head_dim, ", V = ", V, "; 6 K V + 2 C (K + V) forward with chunks of C = ", kDeltaNetChunk,
          ", twice that backward; what the backward pass computes again is not counted");
  const auto problem_of = [&](std::int64_t context) {
    OpSizes sizes = s;
    sizes.context = context;
    return std::make_shared<const DeltaProblem>(sizes, V);
  };
  const std::shared_ptr<const DeltaProblem> problem = problem_of(s.context);
  const KernelCall call = gated_delta_call(s.head_dim, V, at::kFloat, s.device);
  const GatedDeltaKernels& kernels = gated_delta_kernels();
  for (std::size_t i = 0; i < kernels.size(); ++i) {
    const GatedDeltaKernel& row = kernels[i];
    if (const std::string reason = kernels.why_not(i, call); !reason.empty()) {
      op.left_out.push_back(row.name + ": " + reason);
    } else if (row.name == "reference") {
      const std::int64_t tokens = std::min(s.context, kDeltaReferenceTokens);
      op.contenders.push_back(delta_contender(row, problem_of(tokens)));
      op.contenders.back().note = cat("sequences of ", tokens, " tokens, one thread");
    } else {
      op.contenders.push_back(delta_contender(row, problem));
    }
  }
  op.as_called = autograd_contender("", problem->units, problem->arguments, problem->grad_o, [](const Tensors& leaves) {
                   return gated_delta_forward(delta_inputs(leaves));
                 }).forward_backward;
  if (s.checked_only) op.contenders.push_back(delta_decoding(problem));
  const double token_bytes = 16 * K * values * static_cast<double>(s.batch * s.heads);
  const std::int64_t tokens =
      std::clamp(static_cast<std::int64_t>(kNaiveBytes / token_bytes), std::int64_t{1}, s.context);
  const std::shared_ptr<const DeltaProblem> shorter = tokens == s.context ? problem : problem_of(tokens);
  op.contenders.push_back(
      autograd_contender("naive", shorter->units, shorter->arguments, shorter->grad_o, naive_gated_delta));
  op.contenders.back().exact = shorter->exact;
  op.contenders.back().note = cat("token by token in batched ATen calls, autograd",
                                  tokens == s.context ? "" : cat("; sequences of ", tokens, " tokens"));
  return op;
}

}  // namespace ttt
