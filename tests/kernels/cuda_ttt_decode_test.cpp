// The CUDA kernels of decoding with the TTT op, run by emulated lanes, against the reference.
#include "kernels/cuda/ttt_decode.h"

#include <map>
#include <utility>

#include "kernels/cuda_ttt_testing.h"
#include "kernels/reference/ttt_pieces.h"

namespace ttt::kernels::cuda {
namespace {

// All is fp32 but O, which is rounded to Element: bf16 is off by 2^-9 at most, 1.7e-3 in the mean.
template <class Element>
constexpr double kTolerance = sizeof(Element) == 2 ? 2e-3 : 1e-6;

// The tensors of a state of decoding, by name: weights, then the rows of the open mini-batch.
using State = std::map<std::string, std::vector<double>>;

// A fresh state and the tokens that it is to be advanced by, in the kernels' layouts.
template <class Element>
struct Decoder {
  const TttCase& c;
  const std::int64_t heads = c.sizes.batch * c.sizes.heads, K = c.sizes.head_dim, C = c.sizes.mini_batch,
                     M = c.sizes.hidden == 0 ? K : c.sizes.hidden;
  std::int64_t num_open = 0;
  Activations<Element> q{c.sizes, &c.q}, k{c.sizes, &c.k}, v{c.sizes, &c.v}, o{c.sizes};
  Buffer<float> sigma = floats(c.sigma), scale = floats(c.scale), gain = floats(c.gain), bias = floats(c.bias);
  Buffer<float> w1 = of_each_sequence(c.w1), b1 = of_each_sequence(c.b1), w2 = of_each_sequence(c.w2),
                b2 = of_each_sequence(c.b2);
  Buffer<float> keys{rows(K)}, g1{rows(M)}, x2{rows(M)}, g2{rows(K)}, rates{rows(1)};

  explicit Decoder(const TttCase& arguments) : c(arguments) {}

  std::size_t rows(std::int64_t width) const { return heads * C * width; }
  Buffer<float> of_each_sequence(const std::vector<double>& x) const {
    Buffer<float> out(c.sizes.batch * x.size());
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(x[i % x.size()]);
    return out;
  }
  // Tokens first .. first + time - 1.
  TttDecode<Element> arguments(std::int64_t first, std::int64_t time) {
    TttDecode<Element> p;
    p.in.sequences = c.sizes.batch, p.in.heads = static_cast<int>(c.sizes.heads), p.in.time = time;
    p.in.head_dim = static_cast<int>(K);
    p.in.q = rows_from(q.template rows<const Element>(), first),
    p.in.k = rows_from(k.template rows<const Element>(), first);
    p.in.v = rows_from(v.template rows<const Element>(), first), p.o = rows_from(o.template rows<Element>(), first);
    p.in.sigma = rows_from<const float>({sigma.data(), c.sizes.heads * c.sizes.time, c.sizes.time, 1}, first);
    p.in.scale = scale.data(), p.in.gain = gain.data(), p.in.bias = bias.data();
    p.mini_batch = static_cast<int>(C), p.hidden = static_cast<int>(c.sizes.hidden);
    p.num_open = static_cast<int>(num_open);
    p.w1 = w1.data(), p.b1 = b1.data(), p.k = keys.data(), p.g1 = g1.data(), p.sigma = rates.data();
    if (c.sizes.hidden > 0) p.w2 = w2.data(), p.b2 = b2.data(), p.x2 = x2.data(), p.g2 = g2.data();
    return p;
  }
  // As many tokens as each piece has, by the kernel that the table chooses, or by the one for a head size.
  void advance(const std::vector<std::int64_t>& pieces) {
    for_each_piece(pieces, [](const TttDecode<Element>& p) { launch(p); });
  }
  template <int kHeadDim>
  void advance(const std::vector<std::int64_t>& pieces, LaneOrder order) {
    for_each_piece(pieces, [&](const TttDecode<Element>& p) {
      p.hidden == 0 ? run<TttLinearDecodeBlock<Element, kHeadDim>>(p, heads, order)
                    : run<TttMlpDecodeBlock<Element, kHeadDim>>(p, heads, order);
    });
  }
  template <class Advance>
  void for_each_piece(const std::vector<std::int64_t>& pieces, const Advance& advance_by) {
    std::int64_t first = 0;
    for (const std::int64_t time : pieces) {
      advance_by(arguments(first, time));
      first += time, num_open = (num_open + time) % C;
    }
    ASSERT_EQ(first, c.sizes.time);
  }
  State state() {
    State state;
    const auto add = [&](const std::string& name, Buffer<float>& x, std::int64_t width) {
      for (std::size_t i = 0; i < x.size(); ++i)
        if (width == 0 || static_cast<std::int64_t>(i) / width % C < num_open) state[name].push_back(x[i]);
    };
    add("w1", w1, 0), add("b1", b1, 0), add("k", keys, K), add("g1", g1, M), add("sigma", rates, 1);
    if (c.sizes.hidden > 0) add("w2", w2, 0), add("b2", b2, 0), add("x2", x2, M), add("g2", g2, K);
    return state;
  }
};

// The state after a whole sequence, in plain double.
State expected_state(const TttCase& c) {
  State state;
  const CaseSizes& s = c.sizes;
  const std::int64_t K = s.head_dim, M = s.hidden == 0 ? K : s.hidden;
  const bool mlp = s.hidden > 0;
  for (std::int64_t p = 0; p < s.batch * s.heads; ++p) {
    const std::int64_t h = p % s.heads;
    Matrix<double> w1(c.w1.data() + h * K * M, K, M), b1(c.b1.data() + h * M, 1, M), w2, b2;
    if (mlp) w2 = {c.w2.data() + h * M * K, M, K}, b2 = {c.b2.data() + h * K, 1, K};
    const Matrix<double> gain(c.gain.data() + h * K, 1, K), bias(c.bias.data() + h * K, 1, K);
    const auto append = [&](const std::string& name, const std::vector<double>& x) {
      state[name].insert(state[name].end(), x.begin(), x.end());
    };
    for (std::int64_t m = 0; m < num_mini_batches(s); ++m) {
      const MiniBatch<double> mb = load_mini_batch(s, {}, c.pointers(), p, m);
      const auto layer = [](const Matrix<double>& x, const Matrix<double>& w, const Matrix<double>& b) {
        Matrix<double> z = product(x, w);
        add_row(z, b);
        return z;
      };
      const Matrix<double> z1 = layer(mb.k, w1, b1), x2 = map(z1, Gelu::value<double>);
      Matrix<double> g1, g2;
      if (mlp) {
        g2 = inner_gradient({}, layer(x2, w2, b2), mb.target, gain, bias).g;
        g1 = hadamard(product(g2, transpose(w2)), map(z1, Gelu::first<double>));
      } else {
        g1 = inner_gradient({}, z1, mb.target, gain, bias).g;
      }
      if (mb.k.rows < s.mini_batch) {
        append("k", mb.k.data), append("g1", g1.data), append("sigma", mb.sigma);
        if (mlp) append("x2", x2.data), append("g2", g2.data);
        continue;
      }
      const auto step = [&](Matrix<double>& w, Matrix<double>& b, const Matrix<double>& x, const Matrix<double>& g) {
        add_product(w, transpose(scale_rows(mb.e, x)), g, -1.0);
        add_column_sums(b, scale_rows(mb.e, g), -1.0);
      };
      step(w1, b1, mb.k, g1);
      if (mlp) step(w2, b2, x2, g2);
    }
    append("w1", w1.data), append("b1", b1.data);
    if (mlp) append("w2", w2.data), append("b2", b2.data);
  }
  return state;
}

std::vector<double> expected_output(const TttCase& c) {
  std::vector<double> o(c.q.size());
  ttt_forward_reference<double>(c.sizes, {}, c.pointers(), o.data());
  return o;
}

template <class Element>
void expect_reference(const CaseSizes& sizes, const std::vector<std::int64_t>& pieces) {
  SCOPED_TRACE("K " + std::to_string(sizes.head_dim) + ", M " + std::to_string(sizes.hidden) + ", C " +
               std::to_string(sizes.mini_batch) + ", T " + std::to_string(sizes.time));
  const TttCase c(sizes, sizeof(Element) == 2);
  Decoder<Element> decoder(c);
  decoder.advance(pieces);
  EXPECT_LE(relative_error(decoder.o.values(), expected_output(c)), kTolerance<Element>);
  const State expected = expected_state(c);
  State actual = decoder.state();
  ASSERT_EQ(actual.size(), expected.size());
  for (const auto& [name, x] : expected) {
    ASSERT_EQ(actual[name].size(), x.size()) << name;
    EXPECT_LE(relative_error(actual[name], x), kTolerance<float>) << name;
  }
}

template <class Element>
class CudaTttDecode : public ::testing::Test {};
using Elements = ::testing::Types<std::uint16_t, float>;
TYPED_TEST_SUITE(CudaTttDecode, Elements);

TYPED_TEST(CudaTttDecode, AgreesWithTheReference) {
  // TTT-Linear: head sizes of real models, with several sequences and heads; a small one, in mini-batches of one token.
  expect_reference<TypeParam>({2, 3, 5, 64, 0, 4}, {5});
  expect_reference<TypeParam>({1, 1, 18, 96, 0, 16}, {1, 17});
  expect_reference<TypeParam>({1, 2, 3, 8, 0, 1}, {2, 1});
  // TTT-MLP, likewise
  expect_reference<TypeParam>({1, 2, 5, 64, 256, 4}, {5});
  expect_reference<TypeParam>({1, 1, 3, 96, 384, 2}, {1, 2});
  expect_reference<TypeParam>({2, 1, 4, 32, 56, 3}, {2, 2});
}
// Long mini-batches, the widest heads and hidden layers.
TEST(CudaTttDecodeOfFloats, TakesAllSizes) {
  expect_reference<float>({1, 1, 66, 24, 0, 64}, {66});
  expect_reference<float>({1, 1, 4, 128, 0, 3}, {3, 1});
  expect_reference<float>({1, 1, 21, 8, 16, 20}, {21});
  expect_reference<float>({1, 1, 3, 128, 1024, 2}, {3});
}

// However a sequence is split, and in whatever order the threads run, outputs and state have the same bits.
template <class Element, int kHeadDim>
void expect_same_bits(const CaseSizes& sizes, const std::vector<std::int64_t>& one,
                      const std::vector<std::int64_t>& two) {
  const TttCase c(sizes, sizeof(Element) == 2);
  Decoder<Element> whole(c);
  whole.advance({sizes.time});
  for (const LaneOrder order : {LaneOrder::kBackward, LaneOrder::kShuffled}) {
    Decoder<Element> split(c);
    split.template advance<kHeadDim>(order == LaneOrder::kBackward ? one : two, order);
    EXPECT_EQ(split.o.values(), whole.o.values());
    EXPECT_EQ(split.state(), whole.state());
  }
}
TYPED_TEST(CudaTttDecode, TakesAnySplittingInAnyOrder) {
  expect_same_bits<TypeParam, 0>({1, 1, 10, 32, 0, 4}, {1, 1, 2, 1, 5}, {3, 2, 5});
  expect_same_bits<TypeParam, 0>({1, 1, 5, 32, 64, 2}, {1, 2, 2}, {3, 2});
  expect_same_bits<TypeParam, 64>({1, 1, 5, 64, 0, 2}, {1, 1, 3}, {3, 2});
  expect_same_bits<TypeParam, 64>({1, 1, 4, 64, 256, 3}, {1, 3}, {2, 2});
}

TEST(CudaTttDecodeTable, IsStartedByTheTable) {
  for (const std::int64_t hidden : {0, 64}) {
    const TttCase c({1, 2, 2, 32, hidden, 16}, false);
    Decoder<float> decoder(c);
    launch(decoder.arguments(0, 2));
    EXPECT_LE(relative_error(decoder.o.values(), expected_output(c)), kTolerance<float>);

    for (const auto& spoil :
         {+[](TttDecode<float>& p) { p.in.head_dim = 36; }, +[](TttDecode<float>& p) { p.in.head_dim = 136; },
          +[](TttDecode<float>& p) { p.hidden = 1032; }, +[](TttDecode<float>& p) { p.mini_batch = 65; },
          +[](TttDecode<float>& p) { p.num_open = 16; }}) {
      TttDecode<float> p = decoder.arguments(0, 2);
      spoil(p);
      EXPECT_THROW(launch(p), Error);
    }
  }
}

}  // namespace
}  // namespace ttt::kernels::cuda
