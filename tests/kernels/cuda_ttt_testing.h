// Shared by the tests of the CUDA kernels of the TTT op: random arguments of any size in kernels' memory layouts, and
// how near a result is to the reference's.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/ttt_args.h"
#include "kernels/cuda/warp_emulated.h"
#include "kernels/reference/ttt_reference.h"

namespace ttt::kernels::cuda {

inline std::uint16_t bf16_of(float x) {
  return static_cast<std::uint16_t>(pack_bf16(x, 0));
}
inline float float_of(std::uint16_t x) {
  return low_bf16(x);
}
inline float float_of(float x) {
  return x;
}

// Memory aligned as a GPU's allocations are.
template <class T>
class Buffer {
 public:
  explicit Buffer(std::size_t size) : memory_(size * sizeof(T) + 256, '\xff'), size_(size) {}
  T* data() {
    const auto at = reinterpret_cast<std::uintptr_t>(memory_.data());
    return reinterpret_cast<T*>(memory_.data() + (256 - at % 256) % 256);
  }
  std::size_t size() const { return size_; }
  T& operator[](std::size_t i) { return data()[i]; }

 private:
  std::vector<char> memory_;
  std::size_t size_;
};

// The arguments of an op of these sizes, as the reference takes them (double), rounded to what Element holds.
struct TttCase {
  TttSizes sizes;
  std::vector<double> q, k, v, grad_o, sigma, scale, gain, bias, w1, b1, w2,
      b2;  // w2, b2: of TTT-MLP, where sizes.hidden is not 0

  // As tests/ops/ttt_testing.h has them.
  TttCase(const TttSizes& s, bool bf16, unsigned seed = 1) : sizes(s) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal;
    std::uniform_real_distribution<double> uniform;
    const auto fill = [](std::vector<double>& x, std::int64_t n, const auto& value) {
      x.resize(n);
      for (double& one : x) one = value();
    };
    const std::int64_t B = s.batch, H = s.heads, T = s.time, K = s.head_dim;
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
    const std::int64_t M = s.hidden, outputs = M == 0 ? K : M;
    fill(w1, H * K * outputs, [&] { return static_cast<float>(normal(random) / std::sqrt(K)); });
    fill(b1, H * outputs, [&] { return static_cast<float>(0.2 * normal(random)); });
    if (M == 0) return;
    fill(w2, H * M * K, [&] { return static_cast<float>(normal(random) / std::sqrt(M)); });
    fill(b2, H * K, [&] { return static_cast<float>(0.2 * normal(random)); });
  }

  TttPointers<const double> pointers() const {
    return {q.data(),    k.data(),  v.data(),  sigma.data(), scale.data(), gain.data(),
            bias.data(), w1.data(), b1.data(), w2.data(),    b2.data()};
  }
  // For the reference to write gradients to, over the values.
  TttPointers<double> gradients() {
    return {q.data(),    k.data(),  v.data(),  sigma.data(), scale.data(), gain.data(),
            bias.data(), w1.data(), b1.data(), w2.data(),    b2.data()};
  }
  const std::vector<double>& named(const std::string& name) const {
    static const std::map<std::string, std::vector<double> TttCase::*> fields = {
        {"q", &TttCase::q},         {"k", &TttCase::k},       {"v", &TttCase::v},       {"sigma", &TttCase::sigma},
        {"scale", &TttCase::scale}, {"gain", &TttCase::gain}, {"bias", &TttCase::bias}, {"w1", &TttCase::w1},
        {"b1", &TttCase::b1},       {"w2", &TttCase::w2},     {"b2", &TttCase::b2}};
    return this->*fields.at(name);
  }
};

inline Buffer<float> floats(const std::vector<double>& x) {
  Buffer<float> out(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) out[i] = static_cast<float>(x[i]);
  return out;
}

// [B,H,T,K] as [B,T,H,K] in memory, the layers' layout; rows are `pad` elements apart beyond K.
template <class Element>
struct Activations {
  std::int64_t batch, heads, time, head_dim;
  Buffer<Element> memory;

  Activations(const TttSizes& s, const std::vector<double>* values = nullptr)
      : batch(s.batch),
        heads(s.heads),
        time(s.time),
        head_dim(s.head_dim),
        memory(s.batch * s.heads * s.time * s.head_dim) {
    if (values == nullptr) return;
    for (std::size_t i = 0; i < values->size(); ++i) {
      const float x = static_cast<float>((*values)[i]);
      if constexpr (sizeof(Element) == 2) {
        memory[place(i)] = bf16_of(x);
      } else {
        memory[place(i)] = x;
      }
    }
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

// Of the tensors' difference and the expected one, as a ratio of 2-norms; infinite where a value is not finite.
template <class A, class B>
double relative_error(const A& actual, const B& expected) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (!std::isfinite(actual[i])) return INFINITY;
    difference += (actual[i] - expected[i]) * (actual[i] - expected[i]), norm += expected[i] * expected[i];
  }
  return norm == 0 ? std::sqrt(difference) : std::sqrt(difference / norm);
}

}  // namespace ttt::kernels::cuda
