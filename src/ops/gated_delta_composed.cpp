// The `composed` row of the gated delta rule: the chunked form (arXiv 2412.06464, section 3.3) as batched ATen calls.
//
// With Gamma_i the sum of g_0 .. g_i inside a chunk, L_ij = exp(Gamma_i - Gamma_j) for i >= j, e_i = exp(Gamma_i),
// w_i = exp(Gamma_C - Gamma_i), S the state at the chunk's start, (.) elementwise or row by row:
//
//     A = strictly lower (beta (.) K K^T (.) L);  P = lower (Q K^T (.) L);  Tm = (I + A)^-1
//     U = Tm (beta (.) V);  W = Tm (beta e (.) K);  D = U - W S;  O = e (.) (Q S) + P D;  S' = e_C S + (w (.) K)^T D
//
// Backward, dS' the gradient of S', F = dP (.) P and G = dA (.) A without diagonals:
//
//     dD = P^T dO + (w (.) K) dS';  dS = e_C dS' + (e (.) Q)^T dO - W^T dD                    chunk by chunk
//     R = Tm^T dD;  X = dO S^T;  Y = R S^T;  Z = D dS'^T;  dP = lower (dO D^T);  dA = -strictly lower (R D^T)
//     E = beta (.) dA (.) L;  dQ = e (.) X + (dP (.) L) K
//     dK = (dP (.) L)^T Q + (E + E^T) K - beta e (.) Y + w (.) Z;  dV = beta (.) R
//     dbeta_i = R_i . V_i - e_i Y_i . K_i + sum_j dA_ij (K K^T (.) L)_ij;  h_i = w_i Z_i . K_i
//     dGamma_i = sum_j (F + G)_ij - sum_j (F + G)_ji + e_i X_i . Q_i - beta_i e_i Y_i . K_i - h_i
//     dGamma_C += sum h + e_C <S, dS'>;   dg_t = sum_{i >= t} dGamma_i
//
// Gamma is summed in fp64 and kept as two values of the tensors' type: differences are masked, then exponentiated.
//
// Shapes: P = B*H, N chunks of C tokens, the last one padded with zeros.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "kernels/gated_delta_params.h"
#include "ops/gated_delta_kernels.h"

namespace ttt {
namespace {

constexpr std::int64_t kComposedChunk = 64;

// The rows of a call in chunks, and what depends on them alone.
class Chunks {
 public:
  explicit Chunks(const GatedDeltaInputs& in)
      : B(in.q_BHTK.size(0)),
        H(in.q_BHTK.size(1)),
        T(in.q_BHTK.size(2)),
        C(std::min(kComposedChunk, T)),
        N((T + C - 1) / C),
        scale(1 / std::sqrt(static_cast<double>(in.q_BHTK.size(3)))) {
    const at::Tensor q_raw = split(in.q_BHTK), k_raw = split(in.k_BHTK);
    q_factor = inverse_norm(q_raw), k_factor = inverse_norm(k_raw);
    q = q_raw * (q_factor * scale), k = k_raw * k_factor, v = split(in.v_BHTV);
    const at::Tensor g = split(in.g_BHT.unsqueeze(-1)).squeeze(-1);
    beta = split(in.beta_BHT.unsqueeze(-1));
    const at::ScalarType type = g.scalar_type();
    const at::Tensor gamma = g.to(at::kDouble).cumsum(-1), high = gamma.to(type), low = (gamma - high).to(type);
    const auto rows = [](const at::Tensor& x) { return x.unsqueeze(-1); };
    const auto columns = [](const at::Tensor& x) { return x.unsqueeze(-2); };
    const at::Tensor later = at::ones({C, C}, g.options().dtype(at::kBool)).triu(1);
    L = at::exp(((rows(high) - columns(high)) + (rows(low) - columns(low)))
                    .masked_fill_(later, -std::numeric_limits<double>::infinity()));
    e = rows(gamma.exp().to(type)), w = rows((gamma.narrow(-1, C - 1, 1) - gamma).exp().to(type));
    last = e.narrow(2, C - 1, 1);  // [P,N,1,1]
    kkL = at::matmul(k, k.transpose(-1, -2)).mul_(L).tril_(-1);
    P = at::matmul(q, k.transpose(-1, -2)).mul_(L);
    const at::Tensor identity = at::eye(C, g.options()).expand({B * H, N, C, C});
    Tm = at::linalg_solve_triangular(beta * kkL, identity, /*upper=*/false, /*left=*/true, /*unitriangular=*/true);
    W = at::matmul(Tm, beta * e * k);
  }

  // [B,H,T,X] -> [P,N,C,X]
  at::Tensor split(const at::Tensor& x) const {
    at::Tensor rows = x.reshape({B * H, T, x.size(3)});
    if (N * C > T) rows = at::constant_pad_nd(rows, {0, 0, 0, N * C - T});
    return rows.view({B * H, N, C, x.size(3)});
  }
  // [P,N,C,X] -> [B,H,T,X]
  at::Tensor join(const at::Tensor& x) const { return x.reshape({B, H, N * C, x.size(3)}).narrow(2, 0, T); }

  const std::int64_t B, H, T, C, N;
  const double scale;  // 1 / sqrt(K)
  at::Tensor q_factor, k_factor, beta, e, w, last, q, k, v, L, kkL, P, Tm, W;

 private:
  static at::Tensor inverse_norm(const at::Tensor& x) {
    return (x.square().sum(-1, true) + kernels::kQkNormEps).rsqrt();
  }
};

at::Tensor delta_composed_forward(const GatedDeltaInputs& in, const at::Tensor* state_BHKV, GatedDeltaSaved* saved) {
  const Chunks c(in);
  const std::int64_t K = c.k.size(3), V = c.v.size(3);
  const at::Tensor U = at::matmul(c.Tm, c.beta * c.v), wk = c.w * c.k;
  at::Tensor S =
      state_BHKV == nullptr ? at::zeros({c.B * c.H, K, V}, c.v.options()) : state_BHKV->view({c.B * c.H, K, V});
  std::vector<at::Tensor> starts, deltas;
  for (std::int64_t n = 0; n < c.N; ++n) {
    starts.push_back(S);
    deltas.push_back(at::baddbmm(U.select(1, n), c.W.select(1, n), S, /*beta=*/1, /*alpha=*/-1));
    if (n + 1 < c.N || state_BHKV != nullptr)
      S = at::baddbmm(c.last.select(1, n) * S, wk.select(1, n).transpose(1, 2), deltas.back());
  }
  const at::Tensor starts_PNKV = at::stack(starts, 1), D = at::stack(deltas, 1);
  if (state_BHKV != nullptr) state_BHKV->view({c.B * c.H, K, V}).copy_(S);
  if (saved != nullptr) *saved = {starts_PNKV, D};
  return c.join(at::matmul(c.e * c.q, starts_PNKV) + at::matmul(c.P, D));
}

GatedDeltaInputs delta_composed_backward(const at::Tensor& grad_o_BHTV, const GatedDeltaInputs& in,
                                         const GatedDeltaSaved& saved) {
  const Chunks c(in);
  const at::Tensor &S = saved[0], &D = saved[1];
  const auto t = [](const at::Tensor& x) { return x.transpose(-1, -2); };
  const auto dots = [](const at::Tensor& x, const at::Tensor& y) { return (x * y).sum(-1, /*keepdim=*/true); };

  const at::Tensor d_o = c.split(grad_o_BHTV), wk = c.w * c.k;
  const at::Tensor dD_own = at::matmul(t(c.P), d_o), dS_own = at::matmul(t(c.e * c.q), d_o);
  std::vector<at::Tensor> ends(static_cast<std::size_t>(c.N)), dDs(static_cast<std::size_t>(c.N));
  at::Tensor dS = at::zeros_like(S.select(1, 0));
  for (std::int64_t n = c.N - 1; n >= 0; --n) {
    const auto i = static_cast<std::size_t>(n);
    ends[i] = dS;
    dDs[i] = at::baddbmm(dD_own.select(1, n), wk.select(1, n), dS);
    dS = at::baddbmm(c.last.select(1, n) * dS + dS_own.select(1, n), t(c.W.select(1, n)), dDs[i], /*beta=*/1,
                     /*alpha=*/-1);
  }
  const at::Tensor dS_end = at::stack(ends, 1), R = at::matmul(t(c.Tm), at::stack(dDs, 1));

  const at::Tensor X = at::matmul(d_o, t(S)), Y = at::matmul(R, t(S)), Z = at::matmul(D, t(dS_end));
  const at::Tensor dP = at::matmul(d_o, t(D)), dA = -at::matmul(R, t(D)).tril(-1);
  const at::Tensor dA_kkL = dA * c.kkL, FG = (dP * c.P).tril_(-1) + c.beta * dA_kkL;
  const at::Tensor dPL = dP * c.L, E = c.beta * dA * c.L;
  const at::Tensor yk = c.e * dots(Y, c.k), h = c.w * dots(Z, c.k);
  const at::Tensor dq = c.e * X + at::matmul(dPL, c.k);
  const at::Tensor dk = at::matmul(t(dPL), c.q) + at::matmul(E + t(E), c.k) - c.beta * c.e * Y + c.w * Z;
  const at::Tensor dbeta = dots(R, c.v) - yk + dA_kkL.sum(-1, true);
  const at::Tensor dgamma = FG.sum(-1, true) - t(FG.sum(-2, true)) + c.e * dots(X, c.q) - c.beta * yk - h;
  dgamma.narrow(2, c.C - 1, 1) += h.sum(2, true) + c.last * (S * dS_end).sum({2, 3}, true);
  const at::Tensor dg = dgamma.flip(2).cumsum(2).flip(2);

  // Through q = s f x of the row x, f = 1 / sqrt(sum x^2 + eps): dx = s f (dq - f x (f x . dq)).
  const at::Tensor unit_q = c.q / c.scale;
  const at::Tensor dq_raw = c.scale * c.q_factor * (dq - unit_q * dots(unit_q, dq));
  const at::Tensor dk_raw = c.k_factor * (dk - c.k * dots(c.k, dk));
  return {c.join(dq_raw), c.join(dk_raw), c.join(c.beta * R), c.join(dg).squeeze(-1), c.join(dbeta).squeeze(-1)};
}

}  // namespace

GatedDeltaKernel composed_gated_delta_kernel() {
  return {{"composed", {.dtypes = {at::kFloat, at::kDouble}}}, {delta_composed_forward, delta_composed_backward}};
}

}  // namespace ttt
