// Shared by the tests of the CUDA kernels of the TTT op: random arguments of any size in kernels' memory layouts.
#pragma once

#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/ttt_args.h"
#include "kernels/cuda_testing.h"
#include "kernels/reference/ttt_reference.h"

namespace ttt::kernels::cuda {

struct CaseSizes {
  std::int64_t batch, heads, time, head_dim, hidden, mini_batch;  // hidden: 0 for TTT-Linear
  operator TttSizes() const { return {batch, heads, time, head_dim, mini_batch}; }
};

// The arguments of an op of these sizes, as the reference takes them (double), rounded to what Element holds.
struct TttCase {
  CaseSizes sizes;
  std::vector<double> q, k, v, grad_o, sigma, scale, gain, bias, w1, b1, w2, b2;  // w2, b2: TTT-MLP (hidden not 0)

  // As tests/ops/ttt_testing.h has them.
  TttCase(const CaseSizes& s, bool bf16, unsigned seed = 1) : sizes(s) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal;
    std::uniform_real_distribution<double> uniform;
    const auto fill = [](std::vector<double>& x, std::int64_t n, const auto& value) {
      x.resize(n);
      for (double& one : x) one = value();
    };
    const std::int64_t B = s.batch, H = s.heads, T = s.time, K = s.head_dim, M = s.hidden == 0 ? K : s.hidden;
    for (auto* x : {&q, &k, &v, &grad_o})
      fill(*x, B * H * T * K, [&] {
        const float value = static_cast<float>(normal(random));
        return bf16 ? float_of(bf16_of(value)) : value;
      });
    fill(sigma, B * H * T, [&] { return static_cast<float>((0.2 + 0.8 * uniform(random)) * 2.0 / K); });
    int i = 0;
    fill(scale, s.mini_batch, [&] { return static_cast<float>(1.0 / ++i + 0.1 * uniform(random)); });
    fill(gain, H * K, [&] { return static_cast<float>(1 + 0.2 * normal(random)); });
    fill(bias, H * K, [&] { return static_cast<float>(0.2 * normal(random)); });
    fill(w1, H * K * M, [&] { return static_cast<float>(normal(random) / std::sqrt(K)); });
    fill(b1, H * M, [&] { return static_cast<float>(0.2 * normal(random)); });
    if (s.hidden == 0) return;
    fill(w2, H * M * K, [&] { return static_cast<float>(normal(random) / std::sqrt(M)); });
    fill(b2, H * K, [&] { return static_cast<float>(0.2 * normal(random)); });
  }

  TttPointers<const double> pointers() const { return pointers_of<const double>(*this); }
  // For the reference to write gradients to, over the values.
  TttPointers<double> gradients() { return pointers_of<double>(*this); }
  const std::vector<double>& named(const std::string& name) const {
    static const std::map<std::string, std::vector<double> TttCase::*> fields = {
        {"q", &TttCase::q},         {"k", &TttCase::k},       {"v", &TttCase::v},       {"sigma", &TttCase::sigma},
        {"scale", &TttCase::scale}, {"gain", &TttCase::gain}, {"bias", &TttCase::bias}, {"w1", &TttCase::w1},
        {"b1", &TttCase::b1},       {"w2", &TttCase::w2},     {"b2", &TttCase::b2}};
    return this->*fields.at(name);
  }

 private:
  template <class T, class Case>
  static TttPointers<T> pointers_of(Case& c) {
    TttPointers<T> all{c.q.data(),     c.k.data(),    c.v.data(),   c.sigma.data(),
                       c.scale.data(), c.gain.data(), c.bias.data()};
    const std::int64_t K = c.sizes.head_dim, M = c.sizes.hidden;
    all.layers.push_back({c.w1.data(), c.b1.data(), K, M == 0 ? K : M});
    if (M > 0) all.layers.push_back({c.w2.data(), c.b2.data(), M, K});
    return all;
  }
};

// [B,H,T,K] as [B,T,H,K] in memory, the layers' layout; rows are `pad` elements apart beyond K.
template <class Element>
struct Activations {
  std::int64_t batch, heads, time, head_dim;
  Buffer<Element> memory;

  Activations(const CaseSizes& s, const std::vector<double>* values = nullptr)
      : batch(s.batch),
        heads(s.heads),
        time(s.time),
        head_dim(s.head_dim),
        memory(s.batch * s.heads * s.time * s.head_dim) {
    if (values == nullptr) return;
    for (std::size_t i = 0; i < values->size(); ++i) memory[place(i)] = rounded<Element>((*values)[i]);
  }
  // Where element i of [B,H,T,K] lies.
  std::size_t place(std::size_t i) const {
    const std::size_t k = i % head_dim, t = i / head_dim % time, h = i / (head_dim * time) % heads,
                      b = i / (head_dim * time * heads);
    return ((b * time + t) * heads + h) * head_dim + k;
  }
  template <class T>
  HeadRows<T> rows() {
    return {memory.data(), time * heads * head_dim, head_dim, heads * head_dim};
  }
  std::vector<double> values() {
    std::vector<double> out(memory.size());
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = float_of(memory[place(i)]);
    return out;
  }
};

// The rows from row `first` on.
template <class T>
HeadRows<T> rows_from(HeadRows<T> rows, std::int64_t first) {
  rows.data += first * rows.row;
  return rows;
}

}  // namespace ttt::kernels::cuda
