// The kernels' functions of one value against the C library's in double.
#include "kernels/cuda/scalar_math.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace ttt::kernels::cuda {
namespace {

constexpr double kEps = std::numeric_limits<float>::epsilon();

TEST(CudaScalarMath, Sigmoid) {
  for (float x = -20; x < 20; x += 0.37f) {
    const double right = 1 / (1 + std::exp(-static_cast<double>(x)));
    EXPECT_NEAR(sigmoid(x), right, 4 * kEps * right) << x;
  }
  EXPECT_EQ(sigmoid(-1e4f), 0);
  EXPECT_EQ(sigmoid(1e4f), 1);
}

// PyTorch's words for gelu_tanh, and their derivatives. 1 - s is known to half a unit of s only, and then multiplied by
// x (2u') and x (2u')^2.
TEST(CudaScalarMath, GeluTanhAndItsDerivatives) {
  for (float at = -8; at < 8; at += 0.19f) {
    const double x = at, k = std::sqrt(2 / M_PI), a = 0.044715, t = std::tanh(k * (x + a * x * x * x));
    const double du = k * (1 + 3 * a * x * x), dt = (1 - t * t) * du;
    const double slope_error = 2 * kEps * (1 + std::abs(x) * 2 * du);
    const GeluTanh gelu(at);
    EXPECT_NEAR(gelu.value(), 0.5 * x * (1 + t), 8 * kEps) << at;
    EXPECT_NEAR(gelu.slope(), 0.5 * (1 + t) + 0.5 * x * dt, slope_error) << at;
    EXPECT_NEAR(gelu.curvature(), dt + 0.5 * x * ((1 - t * t) * 6 * k * a * x - 2 * t * dt * du), 2 * du * slope_error)
        << at;
  }
  for (const float far : {-1e4f, 1e4f}) {
    EXPECT_EQ(GeluTanh(far).value(), far > 0 ? far : 0);
    EXPECT_EQ(GeluTanh(far).slope(), far > 0 ? 1 : 0);
    EXPECT_EQ(GeluTanh(far).curvature(), 0);
  }
}

}  // namespace
}  // namespace ttt::kernels::cuda
