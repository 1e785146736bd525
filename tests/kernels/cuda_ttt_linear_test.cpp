// TTT-Linear's CUDA kernels, their very source run by emulated lanes, against the reference.
#include <algorithm>
#include <map>
#include <utility>

#include "kernels/cuda/ttt_linear_backward.h"
#include "kernels/cuda/ttt_linear_forward.h"
#include "kernels/cuda_ttt_testing.h"

namespace ttt::kernels::cuda {
namespace {

// Products of bf16 operands (8 bits), and of operands in two planes (16 bits).
template <class Element>
constexpr double kTolerance = sizeof(Element) == 2 ? 4e-3 : 1.2e-5;

// What a call has and makes, in the kernels' layouts.
template <class Element, int kHeadDim, int kWarps>
struct Call {
  const TttCase& c;
  std::int64_t segment, heads, whole, segments;
  Activations<Element> q, k, v, o, d_o, dq, dk, dv;
  Buffer<float> sigma, scale, gain, bias, w, b, states, dsigma, dscale, dgain, dbias, dw, db;
  Buffer<Element> g;
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
        w(floats(c.w1)),
        b(floats(c.b1)),
        states(heads * segments * (kHeadDim + 1) * kHeadDim),
        dsigma(heads * c.sizes.time),
        dscale(heads * 16),
        dgain(heads * kHeadDim),
        dbias(heads * kHeadDim),
        dw(heads * kHeadDim * kHeadDim),
        db(heads * kHeadDim),
        g(heads * c.sizes.time * kHeadDim) {}

  TttInputs<Element> inputs() {
    TttInputs<Element> in;
    in.heads = static_cast<int>(c.sizes.heads), in.time = c.sizes.time;
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
  void forward(LaneOrder order = LaneOrder::kForward) {
    TttLinearForward<Element> p;
    p.in = inputs(), p.w = w.data(), p.b = b.data();
    p.o = o.template rows<Element>(), p.g = g.data(), p.states = states.data(), p.segment = segment;
    forward_counts = launch<TttLinearForwardBlock<Element, kHeadDim, kWarps>>(p, order);
  }
  // Tokens first .. first + time - 1 alone, from the learned weights or from a state, which is then overwritten.
  void forward_part(std::int64_t first, std::int64_t time, Buffer<float>& state_w, Buffer<float>& state_b) {
    TttLinearForward<Element> p;
    p.in = inputs(), p.in.time = time;
    p.in.q = rows_from(p.in.q, first), p.in.k = rows_from(p.in.k, first), p.in.v = rows_from(p.in.v, first);
    p.in.sigma = rows_from(p.in.sigma, first);
    p.w = first == 0 ? w.data() : state_w.data(), p.b = first == 0 ? b.data() : state_b.data();
    p.own_start = first > 0;
    p.o = rows_from(o.template rows<Element>(), first), p.end_w = state_w.data(), p.end_b = state_b.data();
    launch<TttLinearForwardBlock<Element, kHeadDim, kWarps>>(p, LaneOrder::kForward);
  }
  void backward(LaneOrder order = LaneOrder::kForward) {
    TttLinearBackward<Element> p;
    p.in = inputs(), p.d_o = d_o.template rows<const Element>(), p.w = w.data(), p.b = b.data();
    p.g = g.data(), p.states = states.data(), p.segment = segment;
    p.dq = dq.template rows<Element>(), p.dk = dk.template rows<Element>(), p.dv = dv.template rows<Element>();
    p.dsigma = dsigma.data(), p.dscale = dscale.data(), p.dgain = dgain.data(), p.dbias = dbias.data();
    p.dw = dw.data(), p.db = db.data();
    backward_counts = launch<TttLinearBackwardBlock<Element, kHeadDim, kWarps>>(p, order);
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
            {"w1", summed(dw, H * K * K)},
            {"b1", summed(db, H * K)}};
  }
};

template <class Config>
class CudaTttLinear : public ::testing::Test {};
template <class E, int kDim, int kWarpCount>
struct Config {
  using Element = E;
  static constexpr int kHeadDim = kDim, kWarps = kWarpCount;
  static constexpr bool kBf16 = sizeof(E) == 2;
};
#ifdef TTT_PTX  // what nvcc builds
using Configs = ::testing::Types<Config<std::uint16_t, 64, 4>, Config<std::uint16_t, 96, 6>, Config<float, 64, 4>,
                                 Config<float, 96, 6>>;
#else
using Configs =
    ::testing::Types<Config<std::uint16_t, 64, 4>, Config<std::uint16_t, 64, 2>, Config<std::uint16_t, 64, 1>,
                     Config<std::uint16_t, 96, 6>, Config<float, 64, 4>, Config<float, 96, 6>>;
#endif
TYPED_TEST_SUITE(CudaTttLinear, Configs);

template <class Type>
using CallOf = Call<typename Type::Element, Type::kHeadDim, Type::kWarps>;

TYPED_TEST(CudaTttLinear, AgreesWithTheReference) {
  // Several heads and sequences; one whole mini-batch; whole ones, of which the backward pass reads a state, and a
  // tail.
  for (const auto& [sequences, time] : {std::pair{2, 1}, {1, 16}, {1, 56}}) {
    const CaseSizes sizes{sequences, sequences, time, TypeParam::kHeadDim, 0, 16};
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
    for (const auto& [name, gradient] : call.gradients())
      EXPECT_LE(relative_error(gradient, right.named(name)), 3 * tolerance) << name;
    EXPECT_EQ(call.backward_counts.bank_conflicts, 0);
  }
}

// A sequence in two calls, and again a short third that ends no mini-batch: outputs and state have the bits of one
// call.
TYPED_TEST(CudaTttLinear, ContinuesFromAState) {
  constexpr std::int64_t kDim = TypeParam::kHeadDim;
  const TttCase c({2, 2, 53, kDim, 0, 16}, TypeParam::kBf16);
  CallOf<TypeParam> whole(c, /*mini_batches_a_segment=*/3), parts(c);
  whole.forward();
  Buffer<float> w(4 * kDim * kDim), b(4 * kDim);
  parts.forward_part(0, 16, w, b);
  parts.forward_part(16, 32, w, b);
  parts.forward_part(48, 5, w, b);
  EXPECT_EQ(parts.o.values(), whole.o.values());
  for (std::int64_t p = 0; p < 4; ++p) {
    const float* state = whole.states.data() + p * (kDim + 1) * kDim;  // after the three whole mini-batches
    EXPECT_TRUE(std::equal(state, state + kDim * kDim, w.data() + p * kDim * kDim)) << p;
    EXPECT_TRUE(std::equal(state + kDim * kDim, state + (kDim + 1) * kDim, b.data() + p * kDim)) << p;
  }
}

// The order in which threads run between two meetings must not matter.
TYPED_TEST(CudaTttLinear, HasNoRaces) {
  const TttCase c({1, 1, 24, TypeParam::kHeadDim, 0, 16}, TypeParam::kBf16);
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

}  // namespace
}  // namespace ttt::kernels::cuda
