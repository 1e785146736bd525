// TTT-MLP's CUDA kernels, their very source run by emulated lanes, against the reference.
#include <map>
#include <utility>

#include "kernels/cuda/ttt_mlp_backward.h"
#include "kernels/cuda/ttt_mlp_forward.h"
#include "kernels/cuda_ttt_testing.h"

namespace ttt::kernels::cuda {
namespace {

// Products of bf16 operands (8 bits), and of operands in two planes (16 bits).
template <class Element>
constexpr double kTolerance = sizeof(Element) == 2 ? 4e-3 : 1.2e-5;

// Fast weights of `count` heads or blocks.
struct Weights {
  Buffer<float> w1, b1, w2, b2;

  Weights(std::int64_t count, std::int64_t K)
      : w1(count * 4 * K * K), b1(count * 4 * K), w2(count * 4 * K * K), b2(count * K) {}
  Weights(const std::vector<double>& w1_of, const std::vector<double>& b1_of, const std::vector<double>& w2_of,
          const std::vector<double>& b2_of)
      : w1(floats(w1_of)), b1(floats(b1_of)), w2(floats(w2_of)), b2(floats(b2_of)) {}
  template <class T>
  TttMlpWeights<T> pointers() {
    return {w1.data(), b1.data(), w2.data(), b2.data()};
  }
};

// What a call has and makes, in the kernels' layouts.
template <class Element, int kHeadDim>
struct Call {
  const TttCase& c;
  std::int64_t segment, heads, whole, segments;
  Activations<Element> q, k, v, o, d_o, dq, dk, dv;
  Buffer<float> sigma, scale, gain, bias, states, dsigma, dscale, dgain, dbias, scratch;
  Weights w, end, dw;
  Buffer<Element> g2, z1;
  EmulatedCounts forward_counts, backward_counts;

  explicit Call(const TttCase& arguments, std::int64_t mini_batches_a_segment = 2)
      : c(arguments),
        segment(mini_batches_a_segment),
        heads(c.sizes.batch * c.sizes.heads),
        whole(c.sizes.time / 16),
        segments((whole + segment - 1) / segment),
        q(c.sizes, &c.q),
        k(c.sizes, &c.k),
        v(c.sizes, &c.v),
        o(c.sizes),
        d_o(c.sizes, &c.grad_o),
        dq(c.sizes),
        dk(c.sizes),
        dv(c.sizes),
        sigma(floats(c.sigma)),
        scale(floats(c.scale)),
        gain(floats(c.gain)),
        bias(floats(c.bias)),
        states(heads * segments * (8 * kHeadDim + 5) * kHeadDim),
        dsigma(heads * c.sizes.time),
        dscale(heads * 16),
        dgain(heads * kHeadDim),
        dbias(heads * kHeadDim),
        scratch(heads * ttt_mlp_backward_scratch<Element>(kHeadDim)),
        w(c.w1, c.b1, c.w2, c.b2),
        end(heads, kHeadDim),
        dw(heads, kHeadDim),
        g2(heads * c.sizes.time * kHeadDim),
        z1(heads * (c.sizes.time + 15) / 16 * 16 * 4 * kHeadDim) {}

  TttInputs<Element> inputs() {
    TttInputs<Element> in;
    in.sequences = c.sizes.batch, in.heads = static_cast<int>(c.sizes.heads), in.time = c.sizes.time;
    in.head_dim = kHeadDim;
    in.q = q.template rows<const Element>(), in.k = k.template rows<const Element>(),
    in.v = v.template rows<const Element>();
    in.sigma = {sigma.data(), c.sizes.heads * c.sizes.time, c.sizes.time, 1};
    in.scale = scale.data(), in.gain = gain.data(), in.bias = bias.data();
    return in;
  }
  template <class Block, class Arguments>
  EmulatedCounts launch(const Arguments& arguments, LaneOrder order) {
    return run<Block>(arguments, heads, order);
  }
  TttMlpForward<Element> forward_arguments() {
    TttMlpForward<Element> p;
    p.in = inputs(), p.w = w.pointers<const float>(), p.o = o.template rows<Element>();
    p.scratch = scratch.data();
    return p;
  }
  EmulatedCounts launch_forward(const TttMlpForward<Element>& p, LaneOrder order = LaneOrder::kForward) {
    return launch<TttMlpForwardBlock<Element, kHeadDim>>(p, order);
  }
  void forward(LaneOrder order = LaneOrder::kForward) {
    TttMlpForward<Element> p = forward_arguments();
    p.end = end.pointers<float>();
    p.g2 = g2.data(), p.z1 = z1.data(), p.states = states.data(), p.segment = segment;
    forward_counts = launch_forward(p, order);
  }
  void backward(LaneOrder order = LaneOrder::kForward) {
    TttMlpBackward<Element> p;
    p.in = inputs(), p.d_o = d_o.template rows<const Element>(), p.w = w.pointers<const float>();
    p.g2 = g2.data(), p.z1 = z1.data(), p.states = states.data(), p.segment = segment;
    p.dq = dq.template rows<Element>(), p.dk = dk.template rows<Element>(), p.dv = dv.template rows<Element>();
    p.dsigma = dsigma.data(), p.dscale = dscale.data(), p.dgain = dgain.data(), p.dbias = dbias.data();
    p.dw = dw.pointers<float>(), p.scratch = scratch.data();
    backward_counts = launch<TttMlpBackwardBlock<Element, kHeadDim>>(p, order);
  }
  // Every gradient by name, those of p summed over the sequences (dscale over all).
  std::map<std::string, std::vector<double>> gradients() {
    const auto summed = [&](Buffer<float>& x, std::int64_t by) {
      std::vector<double> sums(by, 0);
      for (std::size_t i = 0; i < x.size(); ++i) sums[i % by] += x[i];
      return sums;
    };
    const std::int64_t H = c.sizes.heads, K = kHeadDim;
    return {{"q", dq.values()},
            {"k", dk.values()},
            {"v", dv.values()},
            {"sigma", std::vector<double>(dsigma.data(), dsigma.data() + dsigma.size())},
            {"scale", summed(dscale, 16)},
            {"gain", summed(dgain, H * K)},
            {"bias", summed(dbias, H * K)},
            {"w1", summed(dw.w1, H * 4 * K * K)},
            {"b1", summed(dw.b1, H * 4 * K)},
            {"w2", summed(dw.w2, H * 4 * K * K)},
            {"b2", summed(dw.b2, H * K)}};
  }
};

template <class Config>
class CudaTttMlp : public ::testing::Test {};
template <class E, int kDim>
struct Config {
  using Element = E;
  static constexpr int kHeadDim = kDim;
  static constexpr bool kBf16 = sizeof(E) == 2;
};
using Configs =
    ::testing::Types<Config<std::uint16_t, 64>, Config<std::uint16_t, 96>, Config<float, 64>, Config<float, 96>>;
TYPED_TEST_SUITE(CudaTttMlp, Configs);

template <class Type>
using CallOf = Call<typename Type::Element, Type::kHeadDim>;

TYPED_TEST(CudaTttMlp, AgreesWithTheReference) {
  // Sequences and heads; one whole mini-batch; whole ones, of which the backward pass reads a state, and a tail.
  struct Sizes {
    std::int64_t sequences, heads, time;
  };
  for (const auto& [sequences, heads, time] : {Sizes{2, 1, 3}, {1, 2, 16}, {1, 1, 56}}) {
    const CaseSizes sizes{sequences, heads, time, TypeParam::kHeadDim, 4 * TypeParam::kHeadDim, 16};
    const TttCase c(sizes, TypeParam::kBf16, 7 + static_cast<unsigned>(time));
    SCOPED_TRACE("T " + std::to_string(time));
    std::vector<double> o(c.q.size());
    ttt_forward_reference<double>(sizes, {}, c.pointers(), o.data());
    CallOf<TypeParam> call(c);
    call.forward();
    const double tolerance = kTolerance<typename TypeParam::Element>;
    EXPECT_LE(relative_error(call.o.values(), o), tolerance);
    EXPECT_EQ(call.forward_counts.bank_conflicts, 0);

    TttCase right = c;  // its fields overwritten with the gradients
    ttt_backward_reference<double>(sizes, {}, c.pointers(), c.grad_o.data(), right.gradients());
    call.backward();
    for (const auto& [name, gradient] : call.gradients()) {
      const double cancelled = name == "scale" ? 3 : 1;  // few values, each a sum of many of either sign
      EXPECT_LE(relative_error(gradient, right.named(name)), 3 * cancelled * tolerance) << name;
    }
    EXPECT_EQ(call.backward_counts.bank_conflicts, 0);

    // The formulas have 7 and 20 products with the fast weights a mini-batch; the others are few.
    const double one = 4 * TypeParam::kHeadDim * TypeParam::kHeadDim / 128.0 * (TypeParam::kBf16 ? 1 : 3);
    const double mini_batches = static_cast<double>(call.heads * ((time + 15) / 16));
    EXPECT_LE(call.forward_counts.products, 1.25 * 7 * one * mini_batches);
    EXPECT_LE(call.backward_counts.products, 1.25 * 20 * one * mini_batches);
  }
}

// What does not depend on all of size and type, for some of them.
template <class Config>
class CudaTttMlpCalls : public ::testing::Test {};
using SomeConfigs = ::testing::Types<Config<std::uint16_t, 64>, Config<std::uint16_t, 96>, Config<float, 64>>;
TYPED_TEST_SUITE(CudaTttMlpCalls, SomeConfigs);

// A sequence in two calls, the second one from the state that the first one ends with: the prefill of a long prompt.
TYPED_TEST(CudaTttMlpCalls, GoesOnFromAnEnd) {
  const std::int64_t K = TypeParam::kHeadDim;
  const TttCase c({2, 1, 24, K, 4 * K, 16}, TypeParam::kBf16);
  CallOf<TypeParam> call(c);
  TttMlpForward<typename TypeParam::Element> p = call.forward_arguments();
  call.launch_forward(p);
  const std::vector<double> whole = call.o.values();
  std::fill_n(call.o.memory.data(), call.o.memory.size(), typename TypeParam::Element{});
  p.in.time = 16, p.end = call.end.template pointers<float>();
  call.launch_forward(p);
  p.in.time = 8, p.own_start = true, p.w = call.end.template pointers<const float>(), p.end = {};
  for (auto* x : {&p.in.q, &p.in.k, &p.in.v}) x->data += 16 * x->row;
  p.in.sigma.data += 16, p.o.data += 16 * p.o.row;
  call.launch_forward(p);
  EXPECT_EQ(call.o.values(), whole);
}

// The order in which threads run between two meetings must not matter.
TYPED_TEST(CudaTttMlpCalls, HasNoRaces) {
  const TttCase c({1, 1, 24, TypeParam::kHeadDim, 4 * TypeParam::kHeadDim, 16}, TypeParam::kBf16);
  const auto run = [&](LaneOrder order) {
    CallOf<TypeParam> call(c);
    call.forward(order);
    call.backward(order);
    auto results = call.gradients();
    results["o"] = call.o.values();
    results["states"].assign(call.states.data(), call.states.data() + call.states.size());
    return results;
  };
  const auto straight = run(LaneOrder::kForward);
  EXPECT_EQ(straight, run(LaneOrder::kBackward));
  EXPECT_EQ(straight, run(LaneOrder::kShuffled));
}

// Where a segment ends, its state is read, not made from later ones: one that is not finite shows from there on back.
TEST(CudaTttMlpStates, AreReadWhereSegmentsEnd) {
  const TttCase c({1, 1, 32, 64, 256, 16}, /*bf16=*/true);
  Call<std::uint16_t, 64> call(c, /*mini_batches_a_segment=*/1);
  call.forward();
  call.states[0] = NAN;  // after the first mini-batch
  call.backward();
  const std::vector<double> dq = call.dq.values();
  EXPECT_FALSE(std::isfinite(dq[0]));
  EXPECT_TRUE(std::isfinite(dq[16 * 64]));
}

}  // namespace
}  // namespace ttt::kernels::cuda
