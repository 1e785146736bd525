// The scaling law of Hoffmann et al. 2022 (arXiv 2203.15556, equation 2):
//
//     L(N, D) = E + A / N^alpha + B / D^beta        N parameters, D tokens, L loss
//
// and what follows from it where training costs C = k N D (k = 6 by convention).
#pragma once

namespace ttt {

struct ScalingLaw {
  double E = 0, A = 0, B = 0, alpha = 0, beta = 0;

  double loss(double n, double d) const;
  // Compute-optimal N grows as C^(beta / (alpha + beta)), D as C^(alpha / (alpha + beta)), and the loss falls towards E
  // as C^(-alpha beta / (alpha + beta)).
  double n_exponent() const { return beta / (alpha + beta); }
  double d_exponent() const { return alpha / (alpha + beta); }
  double loss_exponent() const { return alpha * beta / (alpha + beta); }
};

struct Allocation {
  double n = 0, d = 0, loss = 0;
};

// N and D of the lowest loss for so many FLOPs (their equation 4): with G = (alpha A / (beta B))^(1 / (alpha + beta)),
// N = G (C/k)^(beta / (alpha + beta)), D = (C/k) / N.
Allocation compute_optimal(const ScalingLaw& law, double flops, double flops_per_parameter_token = 6);

// The FLOPs with which compute-optimal training reaches `loss`; infinite for a loss of E or below.
double flops_to_reach(const ScalingLaw& law, double loss, double flops_per_parameter_token = 6);

}  // namespace ttt
