// The dual form's read, forward and backward: rows through a matrix, each as the tokens of the mini-batch up to it have
// left that matrix after some steps,
//
//     Y = X W - sum_p N_p V_p,   N_p = M (.) E (.) (X K_p^T + one),   E_ij = s_i sigma_j
//
// with a pair (K_p, V_p) for each step; one: 1 where biases learn with W, else 0. Notation: ttt_reference.h.
#pragma once

#include "kernels/reference/ttt_pieces.h"

namespace ttt::kernels {

// The pairs of the steps so far. P = Matrix<T> for their gradients, const Matrix<T> for values.
template <class P>
struct DualPairs {
  std::vector<P*> k, v;
  void add(P& key, P& value) { k.push_back(&key), v.push_back(&value); }
};

template <class T>
struct DualRates {
  std::vector<T> s, sigma;  // of the full mini-batch, of its rows
};

template <class T>
struct DualRead {
  Matrix<T> y;
  std::vector<Matrix<T>> a, n;  // by step: X K_p^T, N_p
};

template <class T>
DualRead<T> dual_read(const Matrix<T>& x, const Matrix<T>& w, const DualPairs<const Matrix<T>>& pairs, T one,
                      const DualRates<T>& rates) {
  DualRead<T> read{product(x, w), {}, {}};
  for (std::size_t p = 0; p < pairs.k.size(); ++p) {
    read.a.push_back(product(x, transpose(*pairs.k[p])));
    read.n.push_back(dual_mask(read.a[p], one, rates.s, rates.sigma));
    add_product(read.y, read.n[p], *pairs.v[p], T(-1));
  }
  return read;
}

// Adds to every gradient, for u = dY:  dX += U W^T + sum dA_p K_p;  dW += X^T U;  dK_p += dA_p^T X;  dV_p -= N_p^T U
template <class T>
void dual_read_backward(const Matrix<T>& u, const Matrix<T>& x, const Matrix<T>& w, const DualRead<T>& read,
                        const DualPairs<const Matrix<T>>& pairs, T one, const DualRates<T>& rates, Matrix<T>& dx,
                        Matrix<T>& dw, const DualPairs<Matrix<T>>& dpairs, DualRates<T>& drates) {
  add_product(dx, u, transpose(w));
  add_product(dw, transpose(x), u);
  for (std::size_t p = 0; p < pairs.k.size(); ++p) {
    const Matrix<T> da =
        dual_mask_backward(u, *pairs.v[p], read.a[p], one, rates.s, rates.sigma, drates.sigma, drates.s);
    add_product(dx, da, *pairs.k[p]);
    add_product(*dpairs.k[p], transpose(da), x);
    add_product(*dpairs.v[p], transpose(read.n[p]), u, T(-1));
  }
}

}  // namespace ttt::kernels
