// Every row of the kernel table against the reference, forward and every gradient: sizes, tails, strides, threads,
// inputs of any magnitude.
#include <map>

#include "ops/ttt_kernels.h"
#include "ops/ttt_testing.h"

namespace ttt {
namespace {

using testing::Arguments;
using testing::expect_close;
using testing::random_grad;
using testing::reference;
using testing::Result;
using testing::run;
using testing::Sizes;

// body(row, bf16_products) for every row that takes calls of these sizes on this machine, whether or not these must
// allow it bf16 products.
template <class Body>
void for_each_row(const Sizes& s, const Body& body) {
  TttShape shape{s.batch, s.heads, s.time, s.head_dim, s.mini_batch, s.dtype, at::kCPU};
  for (const TttKernel& row : ttt_kernels(s.net)) {
    shape.bf16_products = false;
    const bool bf16_products = !why_not(row.needs, call_of(shape)).empty();
    shape.bf16_products = true;
    if (bf16_products && !why_not(row.needs, call_of(shape)).empty()) continue;
    SCOPED_TRACE((std::ostringstream() << row.name << ", " << s).str());
    body(row, bf16_products);
  }
}

struct Case {
  TttNet net;
  std::int64_t head_dim;
  friend void PrintTo(const Case& c, std::ostream* out) { *out << name_of(c.net) << c.head_dim; }
};

class Rows : public ::testing::TestWithParam<Case> {
  const testing::SingleThread single_thread_;
};
INSTANTIATE_TEST_SUITE_P(TttKernels, Rows,
                         ::testing::Values(Case{ttt_linear_net(), 6}, Case{ttt_linear_net(), 64},
                                           Case{ttt_linear_net(), 96}, Case{ttt_mlp_net(), 6}, Case{ttt_mlp_net(), 64},
                                           Case{ttt_mlp_net(), 96}),
                         [](const auto& p) { return name_of(p.param.net) + std::to_string(p.param.head_dim); });

// fp64 to rounding: it holds the mathematics. fp32 against the fp64 reference: 3e-6 of a tensor's largest value was
// seen, but 2.5e-5 where a gradient is one number that nearly cancels (scale at T = 1); the limit is four times that.
TEST_P(Rows, AgreeWithTheReference) {
  const testing::PoisonedMemory poison;
  const std::int64_t K = GetParam().head_dim;
  const std::vector<std::int64_t> times =
      K <= 64 ? std::vector<std::int64_t>{1, 2, 15, 16, 17, 33, 67} : std::vector<std::int64_t>{1, 17, 67};
  for (const std::int64_t mini_batch : {8, 16, 32, 64}) {
    for (const std::int64_t time : times) {
      const Sizes s{GetParam().net, 1, K >= 64 ? 1 : 3, time, K, mini_batch};
      Sizes s32 = s;
      s32.dtype = at::kFloat;
      const Arguments a = testing::random_arguments(s), a32 = testing::random_arguments(s32);
      const at::Tensor grad_o = random_grad(s);
      const Result expected = run(reference(s.net), s, a, grad_o);
      for (const TttKernel& kernel : ttt_kernels(s.net)) {
        const std::string what = (std::ostringstream() << kernel.name << ", " << s).str();
        const TttShape shape{1, s.heads, time, K, mini_batch, at::kFloat, at::kCPU};
        if (why_not(kernel.needs, call_of(shape)).empty()) {
          expect_close(run(kernel, s32, a32, grad_o.to(at::kFloat)), expected, 1e-4, what + " fp32");
        }
        TttShape shape64 = shape;
        shape64.dtype = at::kDouble;
        if (kernel.name != "reference" && why_not(kernel.needs, call_of(shape64)).empty()) {
          expect_close(run(kernel, s, a, grad_o), expected, 1e-11, what + " fp64");
        }
      }
    }
  }
}

class EveryRow : public ::testing::TestWithParam<TttNet> {};
INSTANTIATE_TEST_SUITE_P(TttKernels, EveryRow, testing::the_papers_nets(), testing::name_of_param());

// A net that is not the paper's is for the composed row and the reference; the others say what they do not take.
TEST(TttTable, OtherNetsAreDeclinedWithAReason) {
  const TttNet deep = testing::net_of(3), bare = testing::net_of(1, {.layer_norm = false, .residual = false}),
               slow = testing::net_of(2, {}, {.biases = false, .steps = 2});
  const auto reasons = [](const TttNet& net) {
    const Sizes s{net, 1, 1, 16, 64, 16, at::kFloat};
    const KernelCall call = call_of(shape_of(net, testing::random_arguments(s).inputs, 16));
    std::map<std::string, std::string> by_row;
    for (const TttKernel& row : ttt_kernels(net)) by_row[row.name] = why_not(row.needs, call);
    return by_row;
  };
  EXPECT_EQ(reasons(ttt_mlp_net()).at("fused_portable"), "");
  EXPECT_EQ(reasons(deep).at("fused_portable"), "it does not take an inner net of 3 layers");
  EXPECT_EQ(reasons(bare).at("fused_portable"),
            "it does not take an inner net of 1 layer, without its LayerNorm, without its residual");
  EXPECT_EQ(reasons(slow).at("fused_portable"),
            "it does not take an inner net of 2 layers, without biases, in 2 gradient steps");
  for (const char* row : {"composed", "reference"}) {
    for (const TttNet& net : {deep, bare, slow}) EXPECT_EQ(reasons(net).at(row), "") << row;
  }
  EXPECT_EQ(deep.variant(), "an inner net of 3 layers");
}

// Rows with bf16 products against the fp64 reference: rounding an operand moves it by up to 2^-9, and a gradient sums
// up many of these. (That they do what they should with the rounded numbers: tests/kernels/bf16_products_test.cpp.)
TEST_P(EveryRow, Bf16ProductsFollowTheReference) {
  for (const std::int64_t head_dim : {64, 96}) {
    for (const std::int64_t mini_batch : {8, 16, 64}) {
      const Sizes s64{GetParam(), 1, 2, 67, head_dim, mini_batch};
      Sizes s = s64;
      s.dtype = at::kFloat;
      const Arguments exact = testing::random_arguments(s64), a = testing::random_arguments(s);
      const at::Tensor grad_o = random_grad(s64);
      const Result expected = run(reference(s64.net), s64, exact, grad_o);
      for_each_row(s, [&](const TttKernel& row, bool bf16_products) {
        if (!bf16_products) return;
        const Result actual = run(row, s, a, grad_o.to(at::kFloat));
        const auto close = [](const at::Tensor& x, const at::Tensor& y, const std::string& what) {
          EXPECT_LE((x - y).norm().item<double>(), 3e-2 * y.norm().item<double>()) << what;
        };
        close(actual.o, expected.o, "o");
        const auto gradients = testing::named(actual.gradients), right = testing::named(expected.gradients);
        for (std::size_t i = 0; i < right.size(); ++i) close(gradients[i].second, right[i].second, right[i].first);
      });
    }
  }
}

// One mini-batch as long as a context, and a short second one (the first rows of the paper's table 1).
TEST_P(EveryRow, TakesLongMiniBatches) {
  const Sizes s64{GetParam(), 1, 1, 530, 64, 512};
  Sizes s = s64;
  s.dtype = at::kFloat;
  const auto small_steps = [](const Sizes& sizes) { return testing::random_arguments(sizes, 1, 0.2); };
  const at::Tensor grad_o = random_grad(s64);
  const Result expected = run(reference(s64.net), s64, small_steps(s64), grad_o);
  for_each_row(s, [&](const TttKernel& row, bool bf16_products) {
    if (row.name == "reference") return;
    expect_close(run(row, s, small_steps(s), grad_o.to(at::kFloat)), expected, bf16_products ? 0.1 : 2e-4, "long");
  });
}

// Only a call that allows it is given to a row with bf16 products.
TEST(TttTable, Bf16ProductsAreAskedFor) {
  TttShape shape{1, 2, 40, 64, 16, at::kFloat, at::kCPU};
  for (const TttKernel& row : ttt_kernels(ttt_linear_net())) {
    const bool bf16 = row.name == "fused_amx" || row.name == "fused_avx512_bf16";
    shape.bf16_products = false;
    const std::string refused = why_not(row.needs, call_of(shape));
    shape.bf16_products = true;
    const std::string allowed = why_not(row.needs, call_of(shape));
    if (bf16) {
      EXPECT_NE(refused, "") << row.name;
    } else {
      EXPECT_EQ(refused, allowed) << row.name;
    }
  }
}

// The table on this machine: the portable row is always there, and what comes first is what runs.
TEST(TttTable, BestRowsFirst) {
  std::vector<std::string> names;
  for (const TttKernel& row : ttt_kernels(ttt_linear_net())) names.push_back(row.name);
  ASSERT_GE(names.size(), 3u);
  EXPECT_EQ(std::vector<std::string>(names.end() - 3, names.end()),
            (std::vector<std::string>{"fused_portable", "composed", "reference"}));
  const TttShape shape{1, 2, 40, 64, 16, at::kFloat, at::kCPU};
  EXPECT_EQ(choose_ttt_kernel(ttt_linear_net(), shape).name.substr(0, 6), "fused_");
  TttShape odd = shape, wide = shape;
  odd.head_dim = 20, wide.dtype = at::kDouble;
  EXPECT_EQ(choose_ttt_kernel(ttt_mlp_net(), odd).name, "composed");
  EXPECT_EQ(choose_ttt_kernel(ttt_mlp_net(), wide).name, "composed");
}

// The same numbers for any number of threads and on every run, bit for bit; batch x heads that no number of threads
// divides.
TEST_P(EveryRow, ThreadsDoNotChangeTheResult) {
  const Sizes s{GetParam(), 3, 5, 140, 16, 16, at::kFloat};
  const Arguments a = testing::random_arguments(s);
  const at::Tensor grad_o = random_grad(s);
  for_each_row(s, [&](const TttKernel& row, bool) {
    const auto with = [&](int threads) {
      const testing::SingleThread restores;
      at::set_num_threads(threads);
      return run(row, s, a, grad_o);
    };
    const Result one = with(1), two = with(2), again = with(2);
    EXPECT_TRUE(at::equal(one.o, two.o) && at::equal(one.o, again.o));
    const auto first = testing::named(one.gradients), second = testing::named(two.gradients),
               third = testing::named(again.gradients);
    for (std::size_t i = 0; i < first.size(); ++i) {
      EXPECT_TRUE(at::equal(first[i].second, second[i].second)) << first[i].first;
      EXPECT_TRUE(at::equal(first[i].second, third[i].second)) << first[i].first;
    }
  });
}

// Inputs of any layout: expanded and transposed tensors.
TEST_P(EveryRow, TakesAnyStrides) {
  const Sizes s64{GetParam(), 2, 2, 19, 16, 8};
  Arguments a = testing::random_arguments(s64);
  a.inputs.k_BHTK = at::randn({2, 2, 16, 19}, at::kDouble).transpose(2, 3);
  a.inputs.sigma_BHT = a.inputs.sigma_BHT.select(2, 0).unsqueeze(2).expand({2, 2, 19});
  const at::Tensor grad_o = at::ones({}, at::kDouble).expand({2, 2, 19, 16});
  const Result expected = run(reference(s64.net), s64, a, grad_o);
  Sizes s = s64;
  s.dtype = at::kFloat;
  Arguments single = a;
  for (at::Tensor* t : single.all()) *t = t->to(at::kFloat);
  single.inputs.k_BHTK = a.inputs.k_BHTK.transpose(2, 3).to(at::kFloat).transpose(2, 3);
  single.inputs.sigma_BHT = a.inputs.sigma_BHT.select(2, 0).to(at::kFloat).unsqueeze(2).expand({2, 2, 19});
  for_each_row(s, [&](const TttKernel& row, bool bf16_products) {
    expect_close(run(row, s, single, at::ones({}, at::kFloat).expand({2, 2, 19, 16})), expected,
                 bf16_products ? 0.1 : 1e-4, "strides");
  });
}

// Decoding by every row that has a pass for it: any pieces of a sequence, against the whole in fp64; TTT_KERNEL or a
// forced row holds there too.
TEST_P(EveryRow, DecodesAnyPieces) {
  for (const std::int64_t head_dim : {16, 64, 96}) {
    for (const std::int64_t mini_batch : {8, 16, 20, 32}) {
      const Sizes s64{GetParam(), 2, 3, 67, head_dim, mini_batch};
      Sizes s = s64;
      s.dtype = at::kFloat;
      const Arguments exact = testing::random_arguments(s64), a = testing::random_arguments(s);
      const at::Tensor expected = ttt_forward(s.net, exact.inputs, exact.weights, mini_batch);
      const auto tokens = [&](std::int64_t begin, std::int64_t count) {
        TttInputs part = a.inputs;
        for (at::Tensor* t : {&part.q_BHTK, &part.k_BHTK, &part.v_BHTK, &part.sigma_BHT})
          *t = t->narrow(2, begin, count);
        return part;
      };
      for_each_row(s, [&](const TttKernel& row, bool bf16_products) {
        if (row.run.advance == nullptr) return;
        const double tolerance = bf16_products ? 5e-2 : 1e-5;
        TttState single = ttt_initial_state(a.weights, s.batch, mini_batch);
        std::vector<at::Tensor> steps;
        for (std::int64_t t = 0; t < s.time; ++t) steps.push_back(row.run.advance(s.net, tokens(t, 1), single));
        EXPECT_LE(testing::relative_error(at::cat(steps, 2), expected), tolerance);
        EXPECT_EQ(single.num_open, s.time % mini_batch);
        for (const std::int64_t split : {5, 8, 16, 31, 66}) {
          TttState state = ttt_initial_state(a.weights, s.batch, mini_batch);
          const at::Tensor first = row.run.advance(s.net, tokens(0, split), state),
                           rest = row.run.advance(s.net, tokens(split, s.time - split), state);
          EXPECT_LE(testing::relative_error(at::cat({first, rest}, 2), expected), tolerance) << "split " << split;
          EXPECT_LE(testing::relative_error(state.weights[0], single.weights[0].to(at::kDouble)), tolerance) << split;
        }
      });
    }
  }
  const TttShape shape{1, 2, 1, 64, 16, at::kFloat, at::kCPU};
  ASSERT_NE(choose_ttt_decoder(GetParam(), shape), nullptr);
  force_kernels({{"ttt", "fused_portable", "the test"}});
  EXPECT_EQ(choose_ttt_decoder(GetParam(), shape)->name, "fused_portable");
  force_kernels({{"ttt", "composed", "the test"}});
  EXPECT_EQ(choose_ttt_decoder(GetParam(), shape), nullptr);
  force_kernels({});
}

// From denormal numbers to large ones: finite, and the reference's numbers in fp64.
TEST_P(EveryRow, InputsOfAnyMagnitude) {
  for (const double factor : {1e-40, 1e-12, 1e-4, 1e4}) {
    const Sizes s64{GetParam(), 1, 2, 40, 64, 16};
    Sizes s = s64;
    s.dtype = at::kFloat;
    const auto scaled = [&](const Sizes& sizes) {
      Arguments a = testing::random_arguments(sizes);
      a.inputs.q_BHTK = a.inputs.q_BHTK * factor;
      a.inputs.k_BHTK = a.inputs.k_BHTK * factor;
      a.inputs.v_BHTK = a.inputs.v_BHTK * factor;
      // a step that does not diverge by itself
      if (factor > 1) a.inputs.sigma_BHT = a.inputs.sigma_BHT / (factor * factor);
      return a;
    };
    const at::Tensor grad_o = random_grad(s64);
    const Result expected = run(reference(s64.net), s64, scaled(s64), grad_o);
    for_each_row(s, [&](const TttKernel& row, bool bf16_products) {
      const double tolerance = bf16_products ? 0.1 : 1e-3;
      const Result actual = run(row, s, scaled(s), grad_o.to(at::kFloat));
      EXPECT_LE(testing::relative_error(actual.o, expected.o), tolerance) << factor;
      const auto gradients = testing::named(actual.gradients), right = testing::named(expected.gradients);
      for (std::size_t i = 0; i < gradients.size(); ++i) {
        EXPECT_TRUE(at::isfinite(gradients[i].second).all().item<bool>()) << gradients[i].first << " at " << factor;
        const double largest = right[i].second.abs().max().item<double>();
        if (factor < 1 && largest > 1e-30) {
          EXPECT_LE(testing::relative_error(gradients[i].second, right[i].second), tolerance)
              << gradients[i].first << " at " << factor;
        }
      }
    });
  }
}

}  // namespace
}  // namespace ttt
