// Steps of the inner loop that know no layers, forward and backward: the inner loss's gradient through LayerNorm, the
// dual form's mask, the output LayerNorm. Notation as in ttt_reference.h; P() as in matrix.h.
#pragma once

#include "kernels/reference/matrix.h"

namespace ttt::kernels {

// G = d/dZ 1/2 ||LN(Z) - target||^2 and what its own backward pass needs.
template <class T>
struct InnerGradient {
  Normalised<T> n;  // of Z
  Matrix<T> d;      // D = g xh + beta - target
  Matrix<T> g;      // G = r * P(H; xh), H = g (.) D; without LayerNorm G = Z - target
};

template <class T>
InnerGradient<T> inner_gradient(const TttLearner& learner, const Matrix<T>& z, const Matrix<T>& target,
                                const Matrix<T>& gain, const Matrix<T>& bias) {
  if (!learner.layer_norm) {
    InnerGradient<T> out{{}, {}, z};
    add(out.g, target, T(-1));
    return out;
  }
  InnerGradient<T> out{normalise(z), target, {}};
  Matrix<T> h = z;
  for (std::int64_t i = 0; i < z.rows; ++i)
    for (std::int64_t j = 0; j < z.cols; ++j) {
      out.d(i, j) = gain(0, j) * out.n.xh(i, j) + bias(0, j) - target(i, j);
      h(i, j) = gain(0, j) * out.d(i, j);
    }
  out.g = normalise_backward(h, out.n);
  return out;
}

// Given Gam = dG (without LayerNorm dZ = dD = Gam):
//   dH = r * P(Gam; xh);  dD = g (.) dH;  dg += sum(dH (.) D + dD (.) xh);  dbeta += sum dD;  d target = -dD
//   dxh = g (.) dD - r * (mean(H (.) xh) Gam + mean(Gam (.) xh) H)
//   dZ = r * P(dxh; xh) - xh * (r/f) * sum_f(Gam (.) G)
template <class T>
struct InnerGradientBackward {
  Matrix<T> dz, dd;
};

template <class T>
InnerGradientBackward<T> inner_gradient_backward(const TttLearner& learner, const Matrix<T>& gam,
                                                 const InnerGradient<T>& forward, const Matrix<T>& gain,
                                                 Matrix<T>& dgain, Matrix<T>& dbias) {
  if (!learner.layer_norm) return {gam, gam};
  const Matrix<T>& xh = forward.n.xh;
  const Matrix<T> dh = normalise_backward(gam, forward.n);
  Matrix<T> dd = dh, dxh = dh;
  std::vector<T> gam_g(gam.rows);
  for (std::int64_t i = 0; i < gam.rows; ++i) {
    const T r = forward.n.r[i];
    T mean_h_xh = 0, mean_gam_xh = 0;
    for (std::int64_t j = 0; j < gam.cols; ++j) {
      mean_h_xh += gain(0, j) * forward.d(i, j) * xh(i, j) / gam.cols;
      mean_gam_xh += gam(i, j) * xh(i, j) / gam.cols;
    }
    gam_g[i] = dot_rows(gam, i, forward.g, i);
    for (std::int64_t j = 0; j < gam.cols; ++j) {
      dd(i, j) = gain(0, j) * dh(i, j);
      dgain(0, j) += dh(i, j) * forward.d(i, j) + dd(i, j) * xh(i, j);
      dbias(0, j) += dd(i, j);
      const T h = gain(0, j) * forward.d(i, j);
      dxh(i, j) = gain(0, j) * dd(i, j) - r * (mean_h_xh * gam(i, j) + mean_gam_xh * h);
    }
  }
  Matrix<T> dz = normalise_backward(dxh, forward.n);
  for (std::int64_t i = 0; i < gam.rows; ++i)
    for (std::int64_t j = 0; j < gam.cols; ++j) dz(i, j) -= xh(i, j) * forward.n.r[i] / gam.cols * gam_g[i];
  return {dz, dd};
}

// M (.) E (.) (A + one); one: 1 where biases learn, else 0
template <class T>
Matrix<T> dual_mask(const Matrix<T>& a, T one, const std::vector<T>& s, const std::vector<T>& sigma) {
  Matrix<T> n(a.rows, a.cols);
  for (std::int64_t i = 0; i < a.rows; ++i)
    for (std::int64_t j = 0; j <= i; ++j) n(i, j) = s[i] * sigma[j] * (a(i, j) + one);
  return n;
}

// dN = -M (.) (U G^T);  dA = E (.) dN;  dE = (A + one) (.) dN;  dsigma_j += sum_i dE_ij s_i
// ds_i += sum_j dE_ij sigma_j
template <class T>
Matrix<T> dual_mask_backward(const Matrix<T>& u, const Matrix<T>& g, const Matrix<T>& a, T one, const std::vector<T>& s,
                             const std::vector<T>& sigma, std::vector<T>& dsigma, std::vector<T>& ds) {
  Matrix<T> da(a.rows, a.cols);
  for (std::int64_t i = 0; i < a.rows; ++i)
    for (std::int64_t j = 0; j <= i; ++j) {
      const T dn = -dot_rows(u, i, g, j);
      const T de = (a(i, j) + one) * dn;
      da(i, j) = s[i] * sigma[j] * dn;
      dsigma[j] += de * s[i];
      ds[i] += de * sigma[j];
    }
  return da;
}

// O = Q + g xhq + beta, where the learner has a residual and a LayerNorm; n is Zq's norm
template <class T>
Matrix<T> output(const TttLearner& learner, const Matrix<T>& q, const Matrix<T>& zq, const Normalised<T>& n,
                 const Matrix<T>& gain, const Matrix<T>& bias) {
  Matrix<T> o = learner.residual ? q : Matrix<T>(q.rows, q.cols);
  if (!learner.layer_norm) {
    add(o, zq);
    return o;
  }
  for (std::int64_t i = 0; i < q.rows; ++i)
    for (std::int64_t j = 0; j < q.cols; ++j) o(i, j) += gain(0, j) * n.xh(i, j) + bias(0, j);
  return o;
}

// dg += sum dO (.) xhq;  dbeta += sum dO;  U = rq * P(g (.) dO; xhq)
template <class T>
Matrix<T> output_backward(const Matrix<T>& d_o, const Normalised<T>& n, const Matrix<T>& gain, Matrix<T>& dgain,
                          Matrix<T>& dbias) {
  Matrix<T> a = d_o;
  for (std::int64_t i = 0; i < a.rows; ++i)
    for (std::int64_t j = 0; j < a.cols; ++j) {
      dgain(0, j) += d_o(i, j) * n.xh(i, j);
      dbias(0, j) += d_o(i, j);
      a(i, j) *= gain(0, j);
    }
  return normalise_backward(a, n);
}

// The rows of one mini-batch of one head.
template <class T>
struct MiniBatch {
  Matrix<T> q, k, target;   // [rows, f]; target = V - K, or V without the residual
  std::vector<T> sigma, e;  // [rows]; e_j = s_{b-1} sigma_j
};

// Mini-batch `index` of head `head` (of B*H).
template <class T>
MiniBatch<T> load_mini_batch(const TttSizes& sizes, const TttLearner& learner, const TttPointers<const T>& in,
                             std::int64_t head, std::int64_t index) {
  const std::int64_t f = sizes.head_dim, begin = index * sizes.mini_batch;
  const std::int64_t rows = std::min(sizes.mini_batch, sizes.time - begin), first = head * sizes.time + begin;
  MiniBatch<T> mb{{in.q + first * f, rows, f}, {in.k + first * f, rows, f}, {in.v + first * f, rows, f}, {}, {}};
  if (learner.residual) add(mb.target, mb.k, T(-1));
  mb.sigma.assign(in.sigma + first, in.sigma + first + rows);
  for (const T sigma : mb.sigma) mb.e.push_back(in.scale[sizes.mini_batch - 1] * sigma);
  return mb;
}

inline std::int64_t num_mini_batches(const TttSizes& sizes) {
  return (sizes.time + sizes.mini_batch - 1) / sizes.mini_batch;
}

// destination[i] = / += source[i]
template <class T>
void store(const Matrix<T>& source, T* destination) {
  std::copy(source.data.begin(), source.data.end(), destination);
}
template <class T>
void accumulate(const Matrix<T>& source, T* destination) {
  for (std::size_t i = 0; i < source.data.size(); ++i) destination[i] += source.data[i];
}

}  // namespace ttt::kernels
