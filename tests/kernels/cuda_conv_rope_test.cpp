// The CUDA kernels of RoPE with the split into heads, alone and behind two convolutions, their very source run by
// emulated lanes, against loops in double.
#include "kernels/cuda/conv_rope.h"
#include "kernels/cuda_conv_testing.h"

namespace ttt::kernels::cuda {
namespace {

// A table as ops/rope.h describes it, of positions 0..P-1.
struct Table {
  std::int64_t positions, head_dim;
  Buffer<float> cos, sin;

  Table(std::int64_t P, std::int64_t K) : positions(P), head_dim(K), cos(P * K), sin(P * K) {
    for (std::int64_t p = 0; p < P; ++p)
      for (std::int64_t k = 0; k < K; ++k) {
        const double angle =
            static_cast<double>(p) * std::pow(10000.0, -static_cast<double>(k / 2 * 2) / static_cast<double>(K));
        cos[p * K + k] = static_cast<float>(std::cos(angle));
        sin[p * K + k] = static_cast<float>(k % 2 == 0 ? -std::sin(angle) : std::sin(angle));
      }
  }
  RopeRows rows(std::int64_t offset) { return {cos.data(), sin.data(), positions, offset}; }
};

// x [B,T,H*K] rotated, by the angles themselves; direction -1: back.
std::vector<double> rotated(const Sizes& s, std::int64_t K, std::int64_t P, std::int64_t offset,
                            const std::vector<double>& x, int direction) {
  std::vector<double> y(x.size());
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(x.size()); i += 2) {
    const std::int64_t t = i / s.width % s.time, k = i % K;
    const double angle = direction * static_cast<double>((offset + t) % P) *
                         std::pow(10000.0, -static_cast<double>(k) / static_cast<double>(K));
    y[i] = x[i] * std::cos(angle) - x[i + 1] * std::sin(angle);
    y[i + 1] = x[i] * std::sin(angle) + x[i + 1] * std::cos(angle);
  }
  return y;
}

// Heads of rows [B,T,H*K], as [B,H,T,K] or [B,T,H,K] in memory.
template <class T>
struct Heads {
  std::int64_t heads, time, head_dim;
  bool split;  // [B,H,T,K]
  Buffer<T> memory;

  Heads(const Sizes& s, std::int64_t K, bool is_split)
      : heads(s.width / K), time(s.time), head_dim(K), split(is_split), memory(s.sequences * s.time * s.width) {}
  Heads(const Sizes& s, std::int64_t K, bool is_split, unsigned seed) : Heads(s, K, is_split) {
    memory = Random<T>(s.sequences * s.time * s.width, seed).memory;
  }
  HeadRows<T> rows() {
    return {memory.data(), heads * time * head_dim, split ? time * head_dim : head_dim,
            split ? head_dim : heads * head_dim};
  }
  HeadRows<const T> const_rows() {
    const HeadRows<T> r = rows();
    return {r.data, r.sequence, r.head, r.row};
  }
  std::vector<double> merged() {  // [B,T,H*K]
    std::vector<double> out(memory.size());
    const HeadRows<T> r = rows();
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(out.size()); ++i) {
      const std::int64_t k = i % head_dim, h = i / head_dim % heads, t = i / (head_dim * heads) % time,
                         b = i / (head_dim * heads * time);
      out[i] = float_of(r.data[b * r.sequence + h * r.head + t * r.row + k]);
    }
    return out;
  }
};

template <class E, class T>
struct From {
  using Element = E;
  using To = T;
};
using Types = ::testing::Types<From<std::uint16_t, std::uint16_t>, From<std::uint16_t, float>, From<float, float>>;
template <class Type>
class CudaRope : public ::testing::Test {};
TYPED_TEST_SUITE(CudaRope, Types);

struct RopeSizes {
  Sizes s;
  std::int64_t head_dim, positions, offset;
};
// Heads that come in fours and not; a head size that is no multiple of a vector; tokens that wrap around the table.
const RopeSizes kRopeSizes[] = {{{1, 1, 16}, 16, 16, 3},   {{2, 3, 320}, 64, 16, 0},  {{1, 17, 48}, 16, 16, 5},
                                {{2, 16, 18}, 6, 16, 15},  {{1, 100, 24}, 12, 16, 0}, {{1, 100, 8}, 8, 100, 0},
                                {{1, 140, 96}, 96, 64, 63}};

TYPED_TEST(CudaRope, AgreesWithRotationsInDouble) {
  using Element = typename TypeParam::Element;
  using To = typename TypeParam::To;
  for (const auto& [s, K, P, offset] : kRopeSizes)
    for (const bool split : {false, true}) {
      SCOPED_TRACE(cat(s.sequences, " x ", s.time, " x ", s.width, ", heads of ", K, split ? ", split" : ""));
      const std::int64_t n = s.sequences * s.time * s.width;
      const int heads = static_cast<int>(s.width / K), size = static_cast<int>(K);
      Table rope(P, K);
      Random<Element> x(n, 1);
      Heads<To> y(s, K, split), dy(s, K, split, 2);
      Buffer<Element> dx(n);
      launch(RopeForward<Element, To>{
          s.sequences, s.time, heads, size, rope.rows(offset), {x.data(), s.time * s.width, s.width}, y.rows()});
      EXPECT_LE(relative_error(y.merged(), rotated(s, K, P, offset, x.values, 1)), kTolerance<To>);
      launch(RopeBackward<Element, To>{s.sequences,
                                       s.time,
                                       heads,
                                       size,
                                       rope.rows(offset),
                                       dy.const_rows(),
                                       {dx.data(), s.time * s.width, s.width}});
      EXPECT_LE(relative_error(in_double(dx), rotated(s, K, P, offset, dy.merged(), -1)), kTolerance<Element>);
    }
}

// What a call of both in one has and makes; start(arguments) runs the kernel of these.
template <class Element, class To>
struct ConvRopeCall {
  RopeSizes sizes;
  Sizes s;
  bool with_window;
  Table rope;
  Random<Element> x, window;
  Random<float> q_weight, q_bias, k_weight, k_bias;
  Heads<To> q, k, dq, dk;
  Buffer<Element> dx;
  std::int64_t parts;
  Buffer<float> dq_weight, dq_bias, dk_weight, dk_bias;

  ConvRopeCall(const RopeSizes& all, bool has_window, bool split)
      : sizes(all),
        s(all.s),
        with_window(has_window),
        rope(all.positions, all.head_dim),
        x(s.sequences * s.time * s.width, 1),
        window(s.sequences * (W - 1) * s.width, 2),
        q_weight(W * s.width, 3),
        q_bias(s.width, 4),
        k_weight(W * s.width, 5),
        k_bias(s.width, 6),
        q(s, all.head_dim, split),
        k(s, all.head_dim, split),
        dq(s, all.head_dim, split, 7),
        dk(s, all.head_dim, split, 8),
        dx(s.sequences * s.time * s.width),
        parts(inputs().parts()),
        dq_weight(parts * W * s.width),
        dq_bias(parts * s.width),
        dk_weight(parts * W * s.width),
        dk_bias(parts * s.width) {
    if (!with_window) window.values.clear();
  }
  ConvInputs<Element> inputs() {
    ConvInputs<Element> in;
    in.sequences = s.sequences, in.time = s.time, in.width = s.width;
    in.x = {x.data(), s.time * s.width, s.width};
    if (with_window) in.window = window.data();
    return in;
  }
  template <class Start>
  void run(const Start& start) {
    const int size = static_cast<int>(sizes.head_dim);
    const RopeRows table = rope.rows(sizes.offset);
    start(ConvRopeForward<Element, To>{
        inputs(), size, table, {q_weight.data(), q_bias.data()}, {k_weight.data(), k_bias.data()}, q.rows(), k.rows()});
    start(ConvRopeBackward<Element, To>{inputs(),
                                        size,
                                        table,
                                        q_weight.data(),
                                        k_weight.data(),
                                        dq.const_rows(),
                                        dk.const_rows(),
                                        {dx.data(), s.time * s.width, s.width},
                                        {dq_weight.data(), dq_bias.data()},
                                        {dk_weight.data(), dk_bias.data()}});
  }
  void expect_right() {
    const auto turned = [&](const std::vector<double>& rows, int direction) {
      return rotated(s, sizes.head_dim, sizes.positions, sizes.offset, rows, direction);
    };
    std::vector<double> right_dx(x.values.size());
    const auto expect = [&](Heads<To>& y, Heads<To>& dy, const Random<float>& weight, const Random<float>& bias,
                            Buffer<float>& dweight, Buffer<float>& dbias) {
      const auto conv = conv_in_double(s, x.values, window.values, weight.values, bias.values);
      EXPECT_LE(relative_error(y.merged(), turned(conv, 1)), kTolerance<To>);
      std::vector<double> right_dweight(weight.values.size()), right_dbias(s.width);
      add_conv_gradients(s, x.values, window.values, weight.values, turned(dy.merged(), -1), right_dx, right_dweight,
                         right_dbias);
      EXPECT_LE(relative_error(summed(dweight, W * s.width), right_dweight), kTolerance<float>);
      EXPECT_LE(relative_error(summed(dbias, s.width), right_dbias), kTolerance<float>);
    };
    expect(q, dq, q_weight, q_bias, dq_weight, dq_bias);
    expect(k, dk, k_weight, k_bias, dk_weight, dk_bias);
    EXPECT_LE(relative_error(in_double(dx), right_dx), kTolerance<Element>);
  }
};

TYPED_TEST(CudaRope, AfterConvolutionsAgreesWithLoopsInDouble) {
  for (const RopeSizes& sizes : kRopeSizes)
    for (const bool with_window : {false, true}) {
      SCOPED_TRACE(cat(sizes.s.sequences, " x ", sizes.s.time, " x ", sizes.s.width, ", heads of ", sizes.head_dim,
                       with_window ? " with a window" : ""));
      ConvRopeCall<typename TypeParam::Element, typename TypeParam::To> call(sizes, with_window, with_window);
      call.run([&](const auto& arguments) { launch(arguments); });
      call.expect_right();
    }
}

// Vectors are not read or written where they do not fit; pairs must.
TYPED_TEST(CudaRope, TakesPairsOfAnyAlignment) {
  using Element = typename TypeParam::Element;
  using To = typename TypeParam::To;
  const RopeSizes sizes{{1, 9, 16}, 8, 16, 0};
  ConvRopeCall<Element, To> call(sizes, /*has_window=*/true, /*split=*/false);
  call.run([&](auto a) {
    const auto start = [&] { launch(a); };
    start_with_each_moved(start, 128, 2, a.table.cos, a.table.sin);
    start_with_each_moved(start, 48, 2, a.in.window);
    if constexpr (requires { a.dx; }) {
      start_with_each_moved(start, 64, 2, a.q_weight, a.k_weight);
      start_with_each_moved(start, 144, 2, a.in.x.data, a.dq.data, a.dk.data, a.dx.data);
      RopeBackward<Element, To> back{1, 9, 2, 8, a.table, a.dq, a.dx};
      start_with_each_moved([&] { launch(back); }, 144, 2, back.dy.data, back.dx.data);
      start();
    } else {
      start_with_each_moved(start, 64, 2, a.q_conv.weight, a.k_conv.weight);
      start_with_each_moved(start, 16, 2, a.q_conv.bias, a.k_conv.bias);
      start_with_each_moved(start, 144, 2, a.in.x.data, a.q.data, a.k.data);
      RopeForward<Element, To> forth{1, 9, 2, 8, a.table, a.in.x, a.q};
      start_with_each_moved([&] { launch(forth); }, 144, 2, forth.x.data, forth.y.data);
      start();
    }
  });
  call.expect_right();
}

TYPED_TEST(CudaRope, AfterConvolutionsHasNoRaces) {
  using Element = typename TypeParam::Element;
  using To = typename TypeParam::To;
  expect_no_races([](LaneOrder order) {
    ConvRopeCall<Element, To> call({{1, 140, 24}, 12, 16, 0}, /*has_window=*/true, /*split=*/false);
    call.run([&](const auto& arguments) {
      if constexpr (requires { arguments.dx; }) {
        using Block = ConvRopeBackwardBlock<Element, To, 4>;
        run<Block>(arguments, Block::blocks(arguments.in), order);
      }
    });
    std::vector<double> all = in_double(call.dx);
    append(all, in_double(call.dq_weight));
    append(all, in_double(call.dk_weight));
    return all;
  });
}

// Pairs are what RoPE turns.
TEST(CudaRopeOfOddRows, IsAnError) {
  Table rope(4, 2);
  Buffer<float> x(16);
  RopeForward<float, float> p{1, 2, 1, 2, rope.rows(0), {x.data() + 1, 4, 2}, {x.data() + 8, 4, 4, 2}};
  EXPECT_THROW(launch(p), Error);
}

}  // namespace
}  // namespace ttt::kernels::cuda
