#include "ops/cross_entropy.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>

#include "base/error.h"
#include "kernels/cpu/rows.h"
#include "kernels/cuda/row_args.h"
#include "ops/cuda_target.h"
#include "ops/cuda_values.h"
#include "ops/parallel.h"
#include "ops/products.h"
#include "ops/row_dispatch.h"

namespace ttt {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Of logits at a time. On a GPU many rows at once keep it busy, and the head's gradient is added up less often.
constexpr std::int64_t kChunkBytes = std::int64_t{32} << 20, kChunkBytesOfGpu = std::int64_t{512} << 20;

// What a row does with a chunk of logits: `losses` gives loss and log-sum of each of its rows; `gradients` makes it
// dlogits = g (softmax - onehot), in place.
struct FusedCrossEntropy {
  static void losses(const at::Tensor& logits_nV, const at::Tensor& targets_n, const at::Tensor& loss_n,
                     const at::Tensor& log_sum_n) {
    const auto n = logits_nV.size(0), V = logits_nV.size(1);
    dispatch_rows(logits_nV.scalar_type(), [&](auto types) {
      using T = typename decltype(types)::T;
      using S = typename decltype(types)::S;
      const S* logits = values<S>(logits_nV);
      const auto* targets = targets_n.const_data_ptr<std::int64_t>();
      T *loss = mutable_values<T>(loss_n), *log_sum = mutable_values<T>(log_sum_n);
      parallel_ranges(n, grain_rows(2 * V), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          TTT_CHECK(targets[i] >= 0 && targets[i] < V, "target ", targets[i], " of a vocabulary of ", V);
          loss[i] = rows::cross_entropy<T, S>(V, logits + i * V, targets[i], log_sum + i);
        }
      });
    });
  }

  static void gradients(const at::Tensor& logits_nV, const at::Tensor& targets_n, const at::Tensor& log_sum_n,
                        const at::Tensor& grad_n) {
    const auto n = logits_nV.size(0), V = logits_nV.size(1);
    dispatch_rows(logits_nV.scalar_type(), [&](auto types) {
      using T = typename decltype(types)::T;
      using S = typename decltype(types)::S;
      S* logits = mutable_values<S>(logits_nV);
      const auto* targets = targets_n.const_data_ptr<std::int64_t>();
      const T *log_sum = values<T>(log_sum_n), *grad = values<T>(grad_n);
      parallel_ranges(n, grain_rows(2 * V), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i)
          rows::cross_entropy_gradient<T, S>(V, logits + i * V, log_sum[i], grad[i], targets[i]);
      });
    });
  }
};

struct CudaCrossEntropy {
  static void losses(const at::Tensor& logits_nV, const at::Tensor& targets_n, const at::Tensor& loss_n,
                     const at::Tensor& log_sum_n) {
    dispatch_elements(logits_nV.scalar_type(), [&](auto element) {
      using Element = decltype(element);
      kernels::cuda::CrossEntropyForward<Element> p;
      p.rows = logits_nV.size(0), p.width = logits_nV.size(1);
      p.logits = {data_of<const Element>(logits_nV), logits_nV.stride(0)};
      p.targets = data_of<const std::int64_t>(targets_n);
      p.loss = data_of<float>(loss_n), p.log_sum = data_of<float>(log_sum_n);
      launch_cuda(logits_nV.device(), p);
    });
  }

  static void gradients(const at::Tensor& logits_nV, const at::Tensor& targets_n, const at::Tensor& log_sum_n,
                        const at::Tensor& grad_n) {
    dispatch_elements(logits_nV.scalar_type(), [&](auto element) {
      using Element = decltype(element);
      kernels::cuda::CrossEntropyGradient<Element> p;
      p.rows = logits_nV.size(0), p.width = logits_nV.size(1);
      p.logits = {data_of<Element>(logits_nV), logits_nV.stride(0)};
      p.targets = data_of<const std::int64_t>(targets_n);
      p.log_sum = data_of<const float>(log_sum_n), p.g = data_of<const float>(grad_n);
      launch_cuda(logits_nV.device(), p);
    });
  }
};

struct ComposedCrossEntropy {
  static void losses(const at::Tensor& logits_nV, const at::Tensor& targets_n, const at::Tensor& loss_n,
                     const at::Tensor& log_sum_n) {
    log_sum_n.copy_(at::logsumexp(logits_nV.to(log_sum_n.scalar_type()), {1}));
    loss_n.copy_(log_sum_n - logits_nV.gather(1, targets_n.unsqueeze(1)).squeeze(1));
  }

  static void gradients(const at::Tensor& logits_nV, const at::Tensor& targets_n, const at::Tensor& log_sum_n,
                        const at::Tensor& grad_n) {
    const at::Tensor grad_n1 = grad_n.unsqueeze(1);
    at::Tensor d_logits_nV = (logits_nV - log_sum_n.unsqueeze(1)).exp_().mul_(grad_n1);
    logits_nV.copy_(d_logits_nV.scatter_add_(1, targets_n.unsqueeze(1), -grad_n1));
  }
};

template <class Row>
struct TokenCrossEntropy : torch::autograd::Function<TokenCrossEntropy<Row>> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& hidden_ND, const at::Tensor& master_VD,
                            const at::Tensor& targets_N, std::int64_t chunk) {
    const auto N = hidden_ND.size(0);
    const at::Tensor head_VD = master_VD.to(hidden_ND.scalar_type());
    const at::Tensor loss_N = at::empty({N}, hidden_ND.options().dtype(wide_type(hidden_ND.scalar_type())));
    const at::Tensor log_sum_N = at::empty_like(loss_N);
    const at::Tensor logits_buffer = at::empty({std::min(chunk, N), head_VD.size(0)}, hidden_ND.options());
    for (std::int64_t begin = 0; begin < N; begin += chunk) {
      const auto n = std::min(chunk, N - begin);
      at::Tensor logits_nV = logits_buffer.narrow(0, 0, n);
      product_out(logits_nV, hidden_ND.narrow(0, begin, n), head_VD.t());
      Row::losses(logits_nV, targets_N.narrow(0, begin, n), loss_N.narrow(0, begin, n), log_sum_N.narrow(0, begin, n));
    }
    context->save_for_backward({hidden_ND, head_VD, targets_N, log_sum_N});
    context->saved_data["chunk"] = chunk;
    context->saved_data["master"] = static_cast<std::int64_t>(master_VD.scalar_type());
    return loss_N;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &hidden_ND = saved[0], &head_VD = saved[1], &targets_N = saved[2], &log_sum_N = saved[3];
    const at::Tensor grad_N = grads[0].contiguous();
    const auto chunk = context->saved_data["chunk"].toInt();
    const auto N = hidden_ND.size(0);
    const at::Tensor d_hidden_ND = at::empty_like(hidden_ND);
    const auto master = static_cast<at::ScalarType>(context->saved_data["master"].toInt());
    at::Tensor d_head_VD = at::zeros(head_VD.sizes(), head_VD.options().dtype(master));
    const at::Tensor buffer = at::empty({std::min(chunk, N), head_VD.size(0)}, hidden_ND.options());
    for (std::int64_t begin = 0; begin < N; begin += chunk) {
      const auto n = std::min(chunk, N - begin);
      const at::Tensor hidden_nD = hidden_ND.narrow(0, begin, n);
      at::Tensor d_logits_nV = buffer.narrow(0, 0, n);
      product_out(d_logits_nV, hidden_nD, head_VD.t());
      Row::gradients(d_logits_nV, targets_N.narrow(0, begin, n), log_sum_N.narrow(0, begin, n),
                     grad_N.narrow(0, begin, n));
      at::Tensor d_hidden_nD = d_hidden_ND.narrow(0, begin, n);
      product_out(d_hidden_nD, d_logits_nV, head_VD);
      product_out(d_head_VD, d_logits_nV.t(), hidden_nD, /*accumulate=*/true);  // many chunks: in the wider type
    }
    return {d_hidden_ND, d_head_VD, at::Tensor(), at::Tensor()};
  }
};

template <class Row>
at::Tensor cross_entropy_with(const at::Tensor& hidden_ND, const at::Tensor& head_VD, const at::Tensor& targets_N,
                              std::int64_t chunk_tokens) {
  return TokenCrossEntropy<Row>::apply(hidden_ND, head_VD, targets_N, chunk_tokens);
}

using CrossEntropyKernels = OpKernels<at::Tensor (*)(const at::Tensor& hidden_ND, const at::Tensor& head_VD,
                                                     const at::Tensor& targets_N, std::int64_t chunk_tokens)>;

const CrossEntropyKernels& cross_entropy_rows() {
  static const CrossEntropyKernels rows("cross_entropy",
                                        {{{"cuda", needs_of_cuda_rows()}, cross_entropy_with<CudaCrossEntropy>},
                                         {{"fused", needs_of_cpu_rows()}, cross_entropy_with<FusedCrossEntropy>},
                                         {{"composed"}, cross_entropy_with<ComposedCrossEntropy>}});
  return rows;
}

}  // namespace

const KernelTable& cross_entropy_kernels() {
  return cross_entropy_rows();
}

std::int64_t default_chunk_tokens(std::int64_t vocabulary, at::ScalarType type, at::DeviceType device) {
  const auto row_bytes = vocabulary * static_cast<std::int64_t>(c10::elementSize(type));
  return std::max<std::int64_t>(64, (device == at::kCUDA ? kChunkBytesOfGpu : kChunkBytes) / row_bytes);
}

at::Tensor token_cross_entropy(const at::Tensor& hidden_ND, const at::Tensor& head_VD, const at::Tensor& targets_N,
                               std::int64_t chunk_tokens) {
  TTT_CHECK(hidden_ND.dim() == 2 && head_VD.dim() == 2 && hidden_ND.size(1) == head_VD.size(1), "hidden ",
            hidden_ND.sizes(), ", head ", head_VD.sizes());
  TTT_CHECK(targets_N.dim() == 1 && targets_N.size(0) == hidden_ND.size(0), "targets ", targets_N.sizes());
  if (chunk_tokens <= 0)
    chunk_tokens = default_chunk_tokens(head_VD.size(0), hidden_ND.scalar_type(), hidden_ND.device().type());
  return cross_entropy_rows()
      .choose({.device = hidden_ND.device(), .dtype = hidden_ND.scalar_type()})
      .run(hidden_ND.contiguous(), head_VD, targets_N.contiguous(), chunk_tokens);
}

}  // namespace ttt
