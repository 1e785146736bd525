// Dense products of CPU tensors in bf16, on every processor.
//
// LibTorch multiplies bf16 well where the processor has instructions for it (AMX, AVX-512 BF16), or AVX-512 at least.
// Elsewhere it takes plain loops: on an AVX2 processor 0.5 to 10 GFLOP/s, where fp32 does 20 to 100. There the operands
// are widened panel by panel, multiplied in fp32 by the library, and the sums rounded once.
//
// Shapes: a product c [m,n] = a [m,k] b [k,n].
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace ttt {

enum class Bf16Products {
  kNative,      // LibTorch's products of bf16 tensors
  kFp32Panels,  // operands widened to fp32, sums rounded to bf16
};

std::string to_string(Bf16Products products);  // "native", "fp32_panels"
Bf16Products bf16_products_of(const std::string& name);

// What this process takes for bf16 tensors on the CPU; kNative until it is set. The two round differently.
void set_bf16_products(Bf16Products products);
Bf16Products bf16_products();

// Times both on products of one size in the three orientations of a linear layer, on one thread and by its processor
// time, so that a busy machine decides as an idle one. Half a second at most. GFLOP/s of the slowest orientation.
struct Bf16ProductSpeed {
  double native = 0, fp32_panels = 0;
  // kNative unless panels are clearly faster, so that near a tie every start decides the same.
  Bf16Products faster() const {
    return fp32_panels > 1.15 * native ? Bf16Products::kFp32Panels : Bf16Products::kNative;
  }
};
Bf16ProductSpeed measure_bf16_products();

// Whether a product with x as an operand goes through panels: x is a bf16 tensor on the CPU, and kFp32Panels is set.
bool through_fp32_panels(const at::Tensor& x);

// c = a b, or c += a b. a and b of one type, with any strides; c of that type or, where a is bf16, fp32. No gradients.
void product_out(const at::Tensor& c, const at::Tensor& a, const at::Tensor& b, bool accumulate = false);

// y = x weight^T + bias through panels, differentiable: x [..., in] bf16, weight [out, in], bias [out] or undefined,
// both of any type -> y [..., out] bf16. Weight and bias are rounded to bf16, their gradients are sums in fp32.
at::Tensor linear_through_panels(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

}  // namespace ttt
