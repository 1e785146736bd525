// Whether the rows that a kernel was handed can be read in vectors of n values (vectors.h): on the host, to choose
// between variants of a kernel.
#pragma once

#include "kernels/cuda/conv_rope_args.h"
#include "kernels/cuda/vectors.h"

namespace ttt::kernels::cuda {

// At data, and at multiples of the steps from it.
template <int n, class T, class... Steps>
bool vectors_fit(const T* data, Steps... steps) {
  return reinterpret_cast<std::uintptr_t>(data) % alignof(Packed<std::remove_const_t<T>, n>) == 0 &&
         ((steps % n == 0) && ...);
}
template <int n, class T>
bool vectors_fit(const SequenceRows<T>& rows) {
  return vectors_fit<n>(rows.data, rows.sequence, rows.row);
}
template <int n, class T>
bool vectors_fit(const HeadRows<T>& rows) {
  return vectors_fit<n>(rows.data, rows.sequence, rows.head, rows.row);
}
template <int n, class Element>
bool vectors_fit(const ConvInputs<Element>& in) {
  return in.width % n == 0 && vectors_fit<n>(in.x) && vectors_fit<n>(in.window);
}
template <int n>
bool vectors_fit(const ConvWeights& conv) {
  return vectors_fit<n>(conv.weight) && vectors_fit<n>(conv.bias);
}
template <int n>
bool vectors_fit(const RopeRows& table, int head_dim) {
  return head_dim % n == 0 && vectors_fit<n>(table.cos) && vectors_fit<n>(table.sin);
}

}  // namespace ttt::kernels::cuda
