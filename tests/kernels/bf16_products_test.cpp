// Products with bf16 operands: packing and tiles against sums in fp64, with emulated tile registers, so that the very
// source of the AMX row runs on any machine; the passes on top of them against the fp32 passes; and the bf16 rows that
// this machine has against the emulated one.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "kernels/emulated_tiles.h"
#define TTT_BF16_PRODUCTS "kernels/cpu/bf16_tiles.h"
#define TTT_TILES EmulatedTiles
#include "kernels/cpu/ttt_fused_impl.h"

namespace ttt::kernels {
namespace {

class Random {
 public:
  std::vector<float> normal(std::int64_t count, float scale = 1) {
    std::vector<float> values(static_cast<std::size_t>(count));
    std::normal_distribution<float> distribution(0, scale);
    for (float& value : values) value = distribution(engine_);
    return values;
  }

 private:
  std::mt19937 engine_{7};
};

float rounded(float x) {
  BFloat16 half;
  save(&half, x);
  return load<float>(&half);
}

// ||actual - expected|| / ||expected||
double distance(const std::vector<float>& actual, const std::vector<float>& expected) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    difference += std::pow(static_cast<double>(actual[i]) - expected[i], 2);
    size += std::pow(static_cast<double>(expected[i]), 2);
  }
  return std::sqrt(difference / size);
}

// C, A [rows,terms] B [terms,cols] of rounded operands, beside the largest difference that fp32 sums may make.
template <class A, class B>
void expect_product(std::int64_t rows, std::int64_t cols, std::int64_t terms, const A& a, const B& b, float sign,
                    const std::vector<float>& before, const std::vector<float>& c, std::int64_t c_row) {
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < cols; ++j) {
      double sum = before[static_cast<std::size_t>(i * c_row + j)], size = std::abs(sum);
      for (std::int64_t l = 0; l < terms; ++l) {
        const double term = static_cast<double>(rounded(a(i, l))) * rounded(b(l, j));
        sum += sign * term;
        size += std::abs(term);
      }
      ASSERT_NEAR(c[static_cast<std::size_t>(i * c_row + j)], sum, 1e-5 * size)
          << rows << " x " << cols << " x " << terms << " at " << i << ", " << j;
    }
  }
}

std::int64_t whole(std::int64_t x) {
  return (x + 15) / 16 * 16;
}

TEST(Bf16Products, AnySizesAndOrders) {
  const ProductSession session;
  Random random;
  for (const std::int64_t rows : {1, 8, 16, 17, 32, 64, 96, 130}) {
    for (const std::int64_t cols : {16, 32, 48, 64, 96, 256}) {
      for (const std::int64_t terms : {1, 5, 8, 16, 32, 48, 64, 96, 256}) {
        const std::int64_t a_row = whole(terms) + 16, at_row = whole(rows), c_row = cols + 16;
        const std::vector<float> a = random.normal(rows * a_row), a_t = random.normal(terms * at_row),
                                 b = random.normal(terms * cols), b_t = random.normal(cols * a_row),
                                 c = random.normal(rows * c_row), zeros(c.size(), 0.0f);
        const auto at = [](const std::vector<float>& x, std::int64_t place) {
          return x[static_cast<std::size_t>(place)];
        };
        const auto left = [&](std::int64_t i, std::int64_t l) { return at(a, i * a_row + l); };
        const auto left_t = [&](std::int64_t i, std::int64_t l) { return at(a_t, l * at_row + i); };
        const auto right = [&](std::int64_t l, std::int64_t j) { return at(b, l * cols + j); };
        const auto right_t = [&](std::int64_t l, std::int64_t j) { return at(b_t, j * a_row + l); };
        std::vector<float> out = c;
        product(rows, cols, terms, {a.data(), a_row, 1}, b.data(), cols, out.data(), c_row);
        expect_product(rows, cols, terms, left, right, 1, zeros, out, c_row);
        out = c;
        product<Store::kAdd>(rows, cols, terms, {a_t.data(), 1, at_row}, b.data(), cols, out.data(), c_row);
        expect_product(rows, cols, terms, left_t, right, 1, c, out, c_row);
        out = c;
        product<Store::kSubtract>(rows, cols, terms, {a.data(), a_row, 1}, b.data(), cols, out.data(), c_row);
        expect_product(rows, cols, terms, left, right, -1, c, out, c_row);
        out = c;
        product<Store::kSubtract>(rows, cols, terms, {a_t.data(), 1, at_row}, b.data(), cols, out.data(), c_row);
        expect_product(rows, cols, terms, left_t, right, -1, c, out, c_row);
        if (terms % 16 != 0) continue;
        out = c;
        product_transposed(rows, cols, terms, a_t.data(), b_t.data(), a_row, out.data(), c_row, nullptr);
        expect_product(rows, cols, terms, left_t, right_t, 1, zeros, out, c_row);
      }
    }
  }
}

// What is not a number stays none: a run that diverges must show it.
TEST(Bf16Products, NotANumberStaysOne) {
  const ProductSession session;
  std::vector<float> a(16 * 16, 1.0f), b(16 * 16, 1.0f), c(16 * 16);
  a[5] = std::nanf("");
  product(16, 16, 16, {a.data(), 16, 1}, b.data(), 16, c.data(), 16);
  EXPECT_TRUE(std::isnan(c[0]));
  EXPECT_EQ(c[16], 16.0f);
  a[5] = HUGE_VALF;
  product(16, 16, 16, {a.data(), 16, 1}, b.data(), 16, c.data(), 16);
  EXPECT_EQ(c[0], HUGE_VALF);
}

// One head's arguments and what a pass makes of them.
class Head {
 public:
  Head(std::int64_t time, std::int64_t head_dim, std::int64_t hidden, std::int64_t mini_batch) {
    head_.time = time, head_.head_dim = head_dim, head_.hidden = hidden, head_.mini_batch = mini_batch;
    head_.segment = 2;
    const std::int64_t K = head_dim, width = hidden == 0 ? K : hidden;
    q_ = random_.normal(time * K), k_ = random_.normal(time * K), v_ = random_.normal(time * K);
    d_o_ = random_.normal(time * K);
    sigma_.assign(static_cast<std::size_t>(time), 0.5f / static_cast<float>(K));
    for (std::int64_t i = 0; i < mini_batch; ++i) scale_.push_back(1.0f / static_cast<float>(i + 1));
    gain_ = random_.normal(K, 0.1f), bias_ = random_.normal(K, 0.1f);
    for (float& g : gain_) g += 1;
    const auto size = [](std::int64_t x) { return static_cast<float>(1 / std::sqrt(static_cast<double>(x))); };
    w1_ = random_.normal(K * width, size(K)), b1_ = random_.normal(width, 0.1f);
    w2_ = random_.normal(hidden * K, size(width)), b2_ = random_.normal(K, 0.1f);
    head_.q = {q_.data(), K}, head_.k = {k_.data(), K}, head_.v = {v_.data(), K}, head_.sigma = {sigma_.data(), 1};
    head_.scale = scale_.data(), head_.gain = gain_.data(), head_.bias = bias_.data();
    head_.w1 = w1_.data(), head_.b1 = b1_.data(), head_.w2 = w2_.data(), head_.b2 = b2_.data();
  }

  struct Result {
    std::vector<float> o, dq, dk, dv, dsigma, dscale, dgain, dbias, dstate;
  };

  Result run(const FusedTtt& row) const {
    const std::int64_t T = head_.time, K = head_.head_dim, C = head_.mini_batch;
    const auto floats = [](std::int64_t count) { return std::vector<float>(static_cast<std::size_t>(count)); };
    Result r{floats(T * K), floats(T * K), floats(T * K),
             floats(T * K), floats(T),     floats(C),
             floats(K),     floats(K),     floats(head_.state_size())};
    std::vector<float> starts = floats(head_.segments() * head_.state_size()),
                       kept = floats(head_.mini_batches() * head_.kept_size());
    {
      Workspace workspace(row.workspace(head_, false));
      row.forward(head_, {{r.o.data(), K}, starts.data(), kept.data()}, workspace.data());
    }
    TttHeadGradients d;
    d.o = {d_o_.data(), K}, d.starts = starts.data(), d.kept = kept.data();
    d.dq = {r.dq.data(), K}, d.dk = {r.dk.data(), K}, d.dv = {r.dv.data(), K};
    d.dsigma = r.dsigma.data(), d.dscale = r.dscale.data(), d.dgain = r.dgain.data(), d.dbias = r.dbias.data();
    d.dstate = r.dstate.data();
    Workspace workspace(row.workspace(head_, true));
    row.backward(head_, d, workspace.data());
    return r;
  }

 private:
  class Workspace {
   public:
    explicit Workspace(std::int64_t count)
        : data_(static_cast<float*>(std::aligned_alloc(64, static_cast<std::size_t>(count + 16) * 4 / 64 * 64))) {}
    ~Workspace() { std::free(data_); }
    Workspace(const Workspace&) = delete;
    Workspace& operator=(const Workspace&) = delete;
    float* data() const { return data_; }

   private:
    float* data_;
  };

  Random random_;
  TttHead head_;
  std::vector<float> q_, k_, v_, d_o_, sigma_, scale_, gain_, bias_, w1_, b1_, w2_, b2_;
};

void expect_close(const Head::Result& actual, const Head::Result& expected, double tolerance, const std::string& what) {
  EXPECT_LE(distance(actual.o, expected.o), tolerance) << what << ", o";
  EXPECT_LE(distance(actual.dq, expected.dq), tolerance) << what << ", dq";
  EXPECT_LE(distance(actual.dk, expected.dk), tolerance) << what << ", dk";
  EXPECT_LE(distance(actual.dv, expected.dv), tolerance) << what << ", dv";
  EXPECT_LE(distance(actual.dsigma, expected.dsigma), 3 * tolerance) << what << ", dsigma";
  EXPECT_LE(distance(actual.dscale, expected.dscale), 3 * tolerance) << what << ", dscale";
  EXPECT_LE(distance(actual.dgain, expected.dgain), tolerance) << what << ", dgain";
  EXPECT_LE(distance(actual.dbias, expected.dbias), tolerance) << what << ", dbias";
  EXPECT_LE(distance(actual.dstate, expected.dstate), tolerance) << what << ", dstate";
}

// Every size that rows are tested with against the reference; the emulated row beside the portable one in fp32, the
// machine's own beside the emulated one (there only the order of sums differs, and now and then a rounding).
TEST(Bf16Products, PassesOfAHead) {
  const FusedTtt emulated = fused_row("emulated", true, [] { return true; });
  for (const std::int64_t head_dim : {64, 96}) {
    for (const std::int64_t hidden : {std::int64_t{0}, 4 * head_dim}) {
      for (const std::int64_t mini_batch : {8, 16, 32, 64}) {
        for (const std::int64_t time : {1, 33, 67}) {
          if (hidden > 0 && head_dim == 96 && time == 67 && mini_batch != 16) continue;  // the emulation is slow
          const std::string what = (hidden == 0 ? "Linear, K " : "MLP, K ") + std::to_string(head_dim) + ", C " +
                                   std::to_string(mini_batch) + ", T " + std::to_string(time);
          const Head head(time, head_dim, hidden, mini_batch);
          const Head::Result expected = head.run(emulated);
          for (const FusedTtt& row : fused_ttt()) {
            if (!row.supported()) continue;
            if (row.bf16_products) expect_close(head.run(row), expected, 3e-3, what + ", " + row.name);
            if (std::string(row.name) == "portable") expect_close(expected, head.run(row), 2e-2, what);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace ttt::kernels
