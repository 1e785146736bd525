// Counts of the kernels that pass once over memory (kernel_work.h), of the tensors that row_cases.cpp and
// step_cases.cpp hand to them. N = B T tokens, D = H K width; E bytes of an Element. Weights count once: all blocks but
// the first find them in the second cache.
#include <algorithm>
#include <type_traits>

#include "base/error.h"
#include "bench/kernel_work.h"
#include "kernels/cuda/adamw.h"
#include "kernels/cuda/causal_conv.h"
#include "kernels/cuda/conv_rope.h"
#include "kernels/cuda/cross_entropy.h"
#include "kernels/cuda/layer_norm_gate.h"
#include "kernels/cuda/rms_norm.h"
#include "kernels/cuda/rope.h"
#include "kernels/cuda/swiglu.h"
#include "ops/cross_entropy.h"

namespace ttt {
namespace {

constexpr double kTaps = kernels::cuda::kConvTaps;

KernelWork counted(KernelWork work, double bytes, double fp32_flop) {
  work.bytes = bytes, work.fp32_flop = fp32_flop;
  return work;
}

// Of the blocks for rows of 1024, 2048 and 8192 values, the narrowest.
template <class Narrow, class Middle, class Wide>
KernelWork widths_work(const std::string& name, std::int64_t width, std::int64_t blocks) {
  if (width <= 1024) return kernel_work<Narrow>(name + "1024", blocks);
  if (width <= 2048) return kernel_work<Middle>(name + "2048", blocks);
  return kernel_work<Wide>(name + "8192", blocks);
}
template <template <class, int, int> class Block, class Element>
KernelWork rms_norm_kernel(const std::string& name, std::int64_t width, std::int64_t blocks) {
  return widths_work<Block<Element, 128, 2>, Block<Element, 256, 2>, Block<Element, 512, 4>>(name, width, blocks);
}
template <template <class, class, int, int> class Block, class Element, class Source>
KernelWork layer_norm_kernel(const std::string& name, std::int64_t width, std::int64_t blocks) {
  return widths_work<Block<Element, Source, 128, 2>, Block<Element, Source, 256, 2>, Block<Element, Source, 512, 4>>(
      name, width, blocks);
}

double tokens_of(const OpSizes& s) {
  return static_cast<double>(s.batch * s.context);
}
// Values [N,D].
double values_of(const OpSizes& s) {
  return tokens_of(s) * static_cast<double>(s.width());
}

// Heads o of type Source.
template <class Element, class Source>
void add_layer_norm_gate(std::vector<KernelWork>& all, const OpSizes& s) {
  namespace cuda = kernels::cuda;
  constexpr double E = sizeof(Element), S = sizeof(Source);
  const std::int64_t rows = s.batch * s.context, parts = cuda::row_blocks(rows);
  const double N = tokens_of(s), D = static_cast<double>(s.width()), ND = values_of(s), R = static_cast<double>(parts);
  const std::string types = cat(" ", cuda::name_of<Element>(), " of ", cuda::name_of<Source>(), " ");
  // o, gate, weight, bias in; y, mean and scale out. A value: mean 1, variance 3, xh weight + bias 3, GELU and product.
  all.push_back(
      counted(layer_norm_kernel<cuda::LayerNormGateForwardBlock, Element, Source>("forward" + types, s.width(), rows),
              ND * (S + 2 * E) + 4 * (2 * D + 2 * N), ND * (8 + kGelu)));
  // dy, o, gate, weight, bias, mean, scale in; do, dgate out; a part of dweight and dbias a block. A value: xh 2, GELU
  // and its slope, dgate 4, d 1, dbias 1, dweight 2, d weight 1, sums 3, do 4.
  all.push_back(counted(
      layer_norm_kernel<cuda::LayerNormGateBackwardBlock, Element, Source>("backward" + types, s.width(), parts),
      ND * (2 * S + 3 * E) + 4 * (2 * D + 2 * N + 2 * R * D), ND * (kGelu + kGeluSlope + 18)));
}

// Rows of type Element, heads of type To.
template <class Element, class To, int n>
void add_rope(std::vector<KernelWork>& all, const OpSizes& s, const std::string& end) {
  namespace cuda = kernels::cuda;
  using Forward = cuda::RopeBlock<Element, To, n, 1>;
  using Backward = cuda::RopeBlock<Element, To, n, -1>;
  cuda::RopeForward<Element, To> p;
  p.sequences = s.batch, p.time = s.context;
  p.heads = static_cast<int>(s.heads), p.head_dim = static_cast<int>(s.head_dim);
  const std::string types = cat(" ", cuda::name_of<Element>(), " to ", cuda::name_of<To>(), end);
  const std::int64_t blocks = Forward::blocks(p);
  // x in, y out, or dy in, dx out; the table of a mini-batch's positions. A value: 3.
  const double bytes =
      values_of(s) * (sizeof(Element) + sizeof(To)) + 4 * 2 * static_cast<double>(s.mini_batch * s.head_dim);
  all.push_back(counted(kernel_work<Forward>("forward" + types, blocks), bytes, 3 * values_of(s)));
  all.push_back(counted(kernel_work<Backward>("backward" + types, blocks), bytes, 3 * values_of(s)));
}

template <class Element>
kernels::cuda::ConvInputs<Element> conv_shape(const OpSizes& s) {
  kernels::cuda::ConvInputs<Element> in;
  in.sequences = s.batch, in.time = s.context, in.width = s.width();
  return in;
}

template <class Element, class To, int n>
void add_conv_rope(std::vector<KernelWork>& all, const OpSizes& s, const std::string& end) {
  namespace cuda = kernels::cuda;
  using Forward = cuda::ConvRopeForwardBlock<Element, To, n>;
  using Backward = cuda::ConvRopeBackwardBlock<Element, To, n>;
  constexpr double E = sizeof(Element), O = sizeof(To);
  const auto in = conv_shape<Element>(s);
  const double D = static_cast<double>(s.width()), ND = values_of(s), R = static_cast<double>(in.parts());
  const double table = 2 * static_cast<double>(s.mini_batch * s.head_dim);
  const std::string types = cat(" ", cuda::name_of<Element>(), " to ", cuda::name_of<To>(), end);
  // x in, q and k out; weights and bias of both; the table. A value: both convolutions, both rotations 3. Rows before
  // a warp's 32 tokens are another warp's, and in the cache.
  all.push_back(counted(kernel_work<Forward>("forward" + types, Forward::blocks(in)),
                        ND * (E + 2 * O) + 4 * (2 * (kTaps + 1) * D + table), ND * 2 * (2 * kTaps + 3)));
  // x, dq, dk in, dx out; weights of both; the table; a part of both dweight and dbias for 128 tokens. A value of each:
  // rotation 3, dx and dweight, dbias 1.
  all.push_back(counted(kernel_work<Backward>("backward" + types, Backward::blocks(in)),
                        ND * (2 * E + 2 * O) + 4 * (2 * kTaps * D + table + 2 * R * (kTaps + 1) * D),
                        ND * 2 * (3 + 4 * kTaps + 1)));
}

}  // namespace

std::vector<KernelWork> rms_norm_work(const OpSizes& s) {
  return work_of_type(s, [&](auto element) {
    using Element = decltype(element);
    namespace cuda = kernels::cuda;
    std::vector<KernelWork> all;
    if (s.width() > cuda::kWidestRow) return all;
    constexpr double E = sizeof(Element);
    const std::int64_t rows = s.batch * s.context, parts = cuda::row_blocks(rows);
    const double N = tokens_of(s), D = static_cast<double>(s.width()), ND = values_of(s);
    const std::string type = cat(" ", cuda::name_of<Element>(), " ");
    // x (fp32), weight in; y, scale out; nothing is added to x. A value: square 2, y 2.
    all.push_back(counted(rms_norm_kernel<cuda::RmsNormForwardBlock, Element>("forward" + type, s.width(), rows),
                          ND * (4 + E) + 4 * (D + N), 4 * ND));
    // dy, x, weight, scale in; dx (fp32) out; a part of dweight a block. A value: xh 1, dweight 2, dy weight 1, sum 2,
    // dx 4.
    all.push_back(counted(rms_norm_kernel<cuda::RmsNormBackwardBlock, Element>("backward" + type, s.width(), parts),
                          ND * (8 + E) + 4 * (D + N + static_cast<double>(parts) * D), 10 * ND));
    return all;
  });
}

std::vector<KernelWork> swiglu_work(const OpSizes& s) {
  return work_of_type(s, [&](auto element) {
    using Element = decltype(element);
    namespace cuda = kernels::cuda;
    const std::int64_t rows = s.batch * s.context;
    const std::int64_t blocks = cuda::swiglu_blocks(cuda::swiglu_vectors<Element>(rows, s.mlp_width()));
    const double all = static_cast<double>(rows * s.mlp_width()), bytes = all * sizeof(Element);
    const std::string type = cat(" ", cuda::name_of<Element>());
    // gate, up in; y out. A value: gate sigmoid(gate), up 1.  dy, gate, up in; dgate, dup out: 7 more.
    return std::vector<KernelWork>{counted(kernel_work<cuda::SwigluForwardBlock<Element>>("forward" + type, blocks),
                                           3 * bytes, all * (kSigmoid + 1)),
                                   counted(kernel_work<cuda::SwigluBackwardBlock<Element>>("backward" + type, blocks),
                                           5 * bytes, all * (kSigmoid + 7))};
  });
}

// add(all, Element(), Other()) for the types of activations and of what heads give or take.
template <class Add>
std::vector<KernelWork> of_head_types(const OpSizes& s, Add add) {
  std::vector<KernelWork> all;
  if (s.dtype == at::kBFloat16) {
    add(all, std::uint16_t(), float());
    add(all, std::uint16_t(), std::uint16_t());
  } else {
    add(all, float(), float());
  }
  return all;
}

std::vector<KernelWork> layer_norm_gate_work(const OpSizes& s) {
  if (s.width() > kernels::cuda::kWidestRow) return {};
  return of_head_types(s, [&]<class Element, class Source>(std::vector<KernelWork>& all, Element, Source) {
    add_layer_norm_gate<Element, Source>(all, s);
  });
}

std::vector<KernelWork> causal_conv_work(const OpSizes& s) {
  return work_of_type(s, [&](auto element) {
    using Element = decltype(element);
    namespace cuda = kernels::cuda;
    const std::string type = cat(" ", cuda::name_of<Element>());
    const auto in = conv_shape<Element>(s);
    const double bytes = values_of(s) * sizeof(Element), D = static_cast<double>(s.width());
    const double R = static_cast<double>(in.parts());
    const auto forward = [&]<int n>(std::integral_constant<int, n>, const char* end) {
      using Block = cuda::CausalConvForwardBlock<Element, n>;
      // x, weight, bias in; y out. A value: four taps.
      return counted(kernel_work<Block>("forward" + type + end, Block::blocks(in)), 2 * bytes + 4 * (kTaps + 1) * D,
                     values_of(s) * 2 * kTaps);
    };
    const auto backward = [&]<int n>(std::integral_constant<int, n>, const char* end) {
      using Block = cuda::CausalConvBackwardBlock<Element, n>;
      // x, dy, weight in; dx out; a part of dweight and dbias for 128 tokens. A value: dx and dweight, dbias 1.
      return counted(kernel_work<Block>("backward" + type + end, Block::blocks(in)),
                     3 * bytes + 4 * (kTaps * D + R * (kTaps + 1) * D), values_of(s) * (4 * kTaps + 1));
    };
    std::vector<KernelWork> all;
    all.push_back(s.width() % 8 == 0 ? forward(std::integral_constant<int, 8>(), "")
                                     : forward(std::integral_constant<int, 1>(), " any width"));
    all.push_back(s.width() % 4 == 0 ? backward(std::integral_constant<int, 4>(), "")
                                     : backward(std::integral_constant<int, 1>(), " any width"));
    return all;
  });
}

std::vector<KernelWork> rope_work(const OpSizes& s) {
  return of_head_types(s, [&]<class Element, class To>(std::vector<KernelWork>& all, Element, To) {
    if (s.head_dim % 8 == 0) {
      add_rope<Element, To, 8>(all, s, "");
    } else if (s.head_dim % 2 == 0) {
      add_rope<Element, To, 2>(all, s, " in pairs");
    }
  });
}

std::vector<KernelWork> conv_rope_work(const OpSizes& s) {
  return of_head_types(s, [&]<class Element, class To>(std::vector<KernelWork>& all, Element, To) {
    if (s.head_dim % 4 == 0) {
      add_conv_rope<Element, To, 4>(all, s, "");
    } else if (s.head_dim % 2 == 0) {
      add_conv_rope<Element, To, 2>(all, s, " in pairs");
    }
  });
}

// Without the head's products, which are LibTorch's. Logits that are still in the second cache are read faster.
std::vector<KernelWork> cross_entropy_work(const OpSizes& s) {
  return work_of_type(s, [&](auto element) {
    using Element = decltype(element);
    namespace cuda = kernels::cuda;
    const std::int64_t rows = s.batch * s.context,
                       chunk = std::min(rows, default_chunk_tokens(s.vocab, s.dtype, at::kCUDA));
    const double n = static_cast<double>(chunk), values = n * static_cast<double>(s.vocab);
    const double vector = 16.0 / sizeof(Element);
    const std::string type = cat(" ", cuda::name_of<Element>());
    std::vector<KernelWork> all;
    // Logits, target in; loss, log-sum out. A value: maximum 1, exponential of a difference with its sum 3; once a
    // vector of 16 bytes the sum so far is scaled.
    all.push_back(counted(kernel_work<cuda::CrossEntropyForwardBlock<Element>>("forward" + type, chunk),
                          values * sizeof(Element) + n * (8 + 4 + 4),
                          values * (kSpecial + 4 + (kSpecial + 4) / vector)));
    // Logits in and out; target, log-sum, g in. A value: exponential of a difference 2, less one or zero 1, times g 1.
    all.push_back(counted(kernel_work<cuda::CrossEntropyGradientBlock<Element>>("gradient" + type, chunk),
                          2 * values * sizeof(Element) + n * (8 + 4 + 4), values * (kSpecial + 4)));
    for (KernelWork& work : all) work.note = cat("a chunk of ", chunk, " of ", rows, " tokens");
    return all;
  });
}

// Eight matrices, as step_cases.cpp has them; no copies in bf16.
std::vector<KernelWork> adamw_work(const OpSizes& s) {
  return work_of_type(s, [&](auto element) {
    using Element = decltype(element);
    namespace cuda = kernels::cuda;
    const std::int64_t size = s.width() * s.mlp_width();
    const auto chunks = static_cast<std::int64_t>(cuda::chunks_of(std::vector<std::int64_t>(8, size)).size());
    const double n = 8 * static_cast<double>(size), blocks = static_cast<double>(chunks);
    constexpr double E = sizeof(Element), kChunk = sizeof(cuda::TensorChunk), kDecision = sizeof(cuda::StepDecision);
    const std::string type = cat(" ", cuda::name_of<Element>());
    std::vector<KernelWork> all;
    // g in; a sum out for a chunk. A value: 2.
    all.push_back(counted(kernel_work<cuda::GradientSquaresBlock<Element>>("squares" + type, chunks),
                          n * E + blocks * (kChunk + 4), 2 * n));
    // The sums in, the norm out.
    all.push_back(counted(kernel_work<cuda::GradientNormBlock>("norm", 1), 4 * blocks + 8, blocks));
    // Loss, norm and their bound in; the decision out.
    all.push_back(counted(kernel_work<cuda::DecideStepBlock>("decision", 1), 8 * 3 + kDecision, 0));
    // g, p, m, v in; p, m, v out. A value: g 1, decay 2, m 3, v 4, a root and two quotients with 3 beside them.
    all.push_back(counted(kernel_work<cuda::AdamWUpdateBlock<Element>>("update" + type, chunks),
                          n * (E + 6 * 4) + blocks * kChunk, n * (13 + 3 * kSpecial)));
    return all;
  });
}

const std::vector<CountedOp>& counted_ops() {
  static const std::vector<CountedOp> ops = {
      {"ttt_linear", ttt_linear_work},       {"ttt_mlp", ttt_mlp_work}, {"selective_scan", nullptr},
      {"rms_norm", rms_norm_work},           {"swiglu", swiglu_work},   {"layer_norm_gate", layer_norm_gate_work},
      {"causal_conv", causal_conv_work},     {"rope", rope_work},       {"conv_rope", conv_rope_work},
      {"cross_entropy", cross_entropy_work}, {"adamw", adamw_work},
  };
  return ops;
}

}  // namespace ttt
