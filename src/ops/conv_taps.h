// What the short convolutions share on the CPU: the tokens that a token's taps read.
//
// Shapes: B batch, T time, D width, W = 4 taps.
#pragma once

#include <ATen/ATen.h>

#include <array>
#include <cstdint>

#include "ops/causal_conv.h"

namespace ttt {

constexpr std::int64_t kConvBefore = kConvWidth - 1;  // tokens before a token that it reads

// The rows that the taps of token (b, t) read: x_{t-3} .. x_t, the window's before t = 0.
template <class S>
struct ConvTaps {
  const S *x, *window;
  std::int64_t time, width;

  std::array<const S*, kConvWidth> operator()(std::int64_t b, std::int64_t t) const { return of_tokens<1>(b, t); }

  // Of the kTokens tokens from t on: x_{t-3} .. x_{t+kTokens-1}.
  template <std::int64_t kTokens>
  std::array<const S*, kTokens + kConvBefore> of_tokens(std::int64_t b, std::int64_t t) const {
    std::array<const S*, kTokens + kConvBefore> rows;
    for (std::int64_t i = 0; i < kTokens + kConvBefore; ++i) {
      const std::int64_t source = t - kConvBefore + i;
      rows[static_cast<std::size_t>(i)] =
          source >= 0 ? x + (b * time + source) * width : window + (b * kConvBefore + kConvBefore + source) * width;
    }
    return rows;
  }
};

// window [B,W-1,D] in the type of x [B,T,D]; zeros where there is none.
inline at::Tensor window_or_zeros(const at::Tensor& x_BTD, const at::Tensor& window_BWD) {
  if (window_BWD.defined()) return window_BWD.to(x_BTD.scalar_type()).contiguous();
  return at::zeros({x_BTD.size(0), kConvBefore, x_BTD.size(2)}, x_BTD.options().requires_grad(false));
}

}  // namespace ttt
