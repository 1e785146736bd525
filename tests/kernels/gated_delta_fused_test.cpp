// The fused passes of the gated delta rule, for every instruction set that this processor has: a workspace full of NaN
// leaves no trace, rows that lie apart keep what is between them, a state of decoding goes on. Values in detail:
// tests/ops/gated_delta_test.cpp.
//
// Shapes: T time, K the keys' head size, V the values'.
#include "kernels/cpu/gated_delta_fused.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/reference/gated_delta_reference.h"

namespace ttt::kernels {
namespace {

constexpr float kGuard = 123456.0f;
constexpr std::int64_t kGap = 16;  // values between rows

// Rows that lie kGap values apart, guards between them.
struct SpacedRows {
  std::int64_t rows, cols;
  std::vector<float> data;

  SpacedRows(std::int64_t n, std::int64_t size) : rows(n), cols(size), data(n * (size + kGap), kGuard) {}
  SpacedRows(std::int64_t n, std::int64_t size, const std::vector<float>& values) : SpacedRows(n, size) {
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j < size; ++j) data[i * (size + kGap) + j] = values[i * size + j];
  }
  HeadRows<float> out() { return {data.data(), cols + kGap}; }
  HeadRows<const float> in() const { return {data.data(), cols + kGap}; }
  std::vector<float> dense() const {
    std::vector<float> values;
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < cols + kGap; ++j) {
        const float x = data[i * (cols + kGap) + j];
        if (j < cols) {
          values.push_back(x);
        } else {
          EXPECT_EQ(x, kGuard) << "between rows";
        }
      }
    return values;
  }
};

struct Workspace {
  explicit Workspace(std::int64_t n)
      : size(n), data(static_cast<float*>(::operator new(n * sizeof(float), std::align_val_t(64)))) {
    for (std::int64_t i = 0; i < n; ++i) data[i] = std::numeric_limits<float>::quiet_NaN();
  }
  ~Workspace() { ::operator delete(data, std::align_val_t(64)); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  std::int64_t size;
  float* data;
};

struct Problem {
  GatedDeltaSizes sizes;
  std::vector<float> q, k, v, g, beta, grad_o;

  Problem(std::int64_t T, std::int64_t K, std::int64_t V) : sizes{1, 1, T, K, V} {
    std::mt19937 generator(5);
    std::normal_distribution<float> normal;
    const auto draw = [&](std::int64_t n) {
      std::vector<float> values(n);
      for (float& x : values) x = normal(generator);
      return values;
    };
    q = draw(T * K), k = draw(T * K), v = draw(T * V), g = draw(T), beta = draw(T), grad_o = draw(T * V);
    for (float& x : g) x = -0.2f * std::exp(x);
    for (float& x : beta) x = 1 / (1 + std::exp(x));
  }
  GatedDeltaPointers<const float> pointers() const { return {q.data(), k.data(), v.data(), g.data(), beta.data()}; }
};

void expect_near(const std::vector<float>& actual, const std::vector<float>& expected, const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  float largest = 0, difference = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    ASSERT_TRUE(std::isfinite(actual[i])) << what << " " << i;
    largest = std::max(largest, std::abs(expected[i]));
    difference = std::max(difference, std::abs(actual[i] - expected[i]));
  }
  EXPECT_LE(difference, 2e-5f * largest) << what;
}

GatedDeltaHead head_of(const Problem& p, const SpacedRows& q, const SpacedRows& k, const SpacedRows& v) {
  GatedDeltaHead head;
  head.time = p.sizes.time, head.key_dim = p.sizes.key_dim, head.value_dim = p.sizes.value_dim;
  head.q = q.in(), head.k = k.in(), head.v = v.in();
  head.g = {p.g.data(), 1}, head.beta = {p.beta.data(), 1};
  return head;
}

TEST(FusedGatedDelta, NoTraceOfTheWorkspaceAndNothingBetweenRows) {
  for (const FusedGatedDelta& row : fused_gated_delta()) {
    if (!row.supported()) continue;
    for (const auto& [T, K, V] : {std::tuple{1, 16, 16},
                                  {7, 16, 48},
                                  {16, 32, 16},
                                  {63, 64, 32},
                                  {64, 48, 80},
                                  {65, 64, 128},
                                  {130, 112, 64},
                                  {80, 256, 256}}) {
      const std::string what = std::string(row.name) + " T " + std::to_string(T) + " K " + std::to_string(K) + " V " +
                               std::to_string(V) + ": ";
      const Problem p(T, K, V);
      std::vector<float> o(T * V), dq(T * K), dk(T * K), dv(T * V), dg(T), dbeta(T);
      gated_delta_forward_reference<float>(p.sizes, p.pointers(), nullptr, o.data());
      gated_delta_backward_reference<float>(p.sizes, p.pointers(), p.grad_o.data(),
                                            {dq.data(), dk.data(), dv.data(), dg.data(), dbeta.data()});

      const SpacedRows q(T, K, p.q), k(T, K, p.k), v(T, V, p.v), grad_o(T, V, p.grad_o);
      const GatedDeltaHead head = head_of(p, q, k, v);
      std::vector<float> starts(head.chunks() * head.state_size()), deltas(T * V);
      SpacedRows own_o(T, V), own_dq(T, K), own_dk(T, K), own_dv(T, V);
      std::vector<float> own_dg(T), own_dbeta(T);
      const Workspace forward(row.workspace(head, false)), backward(row.workspace(head, true));
      row.forward(head, {own_o.out(), nullptr, starts.data(), deltas.data()}, forward.data);
      GatedDeltaHeadGradients d;
      d.o = grad_o.in(), d.starts = starts.data(), d.deltas = deltas.data();
      d.dq = own_dq.out(), d.dk = own_dk.out(), d.dv = own_dv.out();
      d.dg = own_dg.data(), d.dbeta = own_dbeta.data();
      row.backward(head, d, backward.data);
      expect_near(own_o.dense(), o, what + "o");
      expect_near(own_dq.dense(), dq, what + "dq");
      expect_near(own_dk.dense(), dk, what + "dk");
      expect_near(own_dv.dense(), dv, what + "dv");
      if (T > 1) expect_near(own_dg, dg, what + "dg");  // one token decays nothing: rounding errors of zero
      expect_near(own_dbeta, dbeta, what + "dbeta");
    }
  }
}

TEST(FusedGatedDelta, AStateGoesOn) {
  for (const FusedGatedDelta& row : fused_gated_delta()) {
    if (!row.supported()) continue;
    for (const std::int64_t T : {1, 7, 8, 70}) {
      const Problem p(T, 32, 48);
      std::vector<float> state(32 * 48), o(T * 48);
      for (std::size_t i = 0; i < state.size(); ++i) state[i] = std::sin(static_cast<float>(i));
      std::vector<float> own = state;
      gated_delta_forward_reference<float>(p.sizes, p.pointers(), state.data(), o.data());
      const SpacedRows q(T, 32, p.q), k(T, 32, p.k), v(T, 48, p.v);
      SpacedRows own_o(T, 48);
      const GatedDeltaHead head = head_of(p, q, k, v);
      const Workspace workspace(row.workspace(head, false));
      row.forward(head, {own_o.out(), own.data()}, workspace.data);
      expect_near(own_o.dense(), o, std::string(row.name) + " o");
      expect_near(own, state, std::string(row.name) + " state");
    }
  }
}

}  // namespace
}  // namespace ttt::kernels
