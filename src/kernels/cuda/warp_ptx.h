// The words of warp.h as PTX instructions.
#pragma once

#include <cstdint>

#define TTT_DEVICE __device__ __forceinline__
#define TTT_ANYWHERE __host__ __device__ __forceinline__
#define TTT_UNROLL _Pragma("unroll")
#define TTT_ROLLED _Pragma("unroll 1")

namespace ttt::kernels::cuda {

TTT_DEVICE int thread_in_block() {
  return static_cast<int>(threadIdx.x);
}
TTT_DEVICE int recomputed(int x) {
  asm volatile("" : "+r"(x));
  return x;
}
TTT_DEVICE int block_in_grid() {
  return static_cast<int>(blockIdx.x);
}
TTT_DEVICE int blocks_in_grid() {
  return static_cast<int>(gridDim.x);
}
TTT_DEVICE void sync_block() {
  __syncthreads();
}
TTT_DEVICE void sync_warp() {
  __syncwarp();
}

TTT_DEVICE float shuffle_xor(float x, int mask) {
  return __shfl_xor_sync(0xffffffffu, x, mask);
}
TTT_DEVICE float shuffle(float x, int lane) {
  return __shfl_sync(0xffffffffu, x, lane);
}

template <int kBytes, class T>
TTT_DEVICE T* aligned(T* p) {
  return p;
}

TTT_DEVICE std::uint32_t address_in_shared(const void* p) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(p));
}

TTT_DEVICE std::uint32_t pack_bf16(float low, float high) {
  std::uint32_t word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
}
TTT_DEVICE float low_bf16(std::uint32_t word) {
  return __uint_as_float(word << 16);
}
TTT_DEVICE float high_bf16(std::uint32_t word) {
  return __uint_as_float(word & 0xffff0000u);
}

TTT_DEVICE std::uint32_t transpose_8x8(std::uint32_t row) {
  std::uint32_t column;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(column) : "r"(row));
  return column;
}

TTT_DEVICE void multiply_add(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

TTT_DEVICE void load_matrices(std::uint32_t (&words)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(address_in_shared(row))
               : "memory");
}
TTT_DEVICE void load_matrices_transposed(std::uint32_t (&words)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(address_in_shared(row))
               : "memory");
}

TTT_DEVICE void copy_16_bytes(void* to_shared, const void* from_global, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address_in_shared(to_shared)), "l"(from_global),
               "r"(valid ? 16 : 0)
               : "memory");
}
TTT_DEVICE void close_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int kOpen>
TTT_DEVICE void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kOpen) : "memory");
}

TTT_DEVICE void prefetch_line(const void* in_global) {
  asm volatile("prefetch.L2 [%0];" ::"l"(in_global));
}

TTT_DEVICE float inverse_sqrt(float x) {
  return rsqrtf(x);
}
TTT_DEVICE float square_root(float x) {
  return __fsqrt_rn(x);
}
TTT_DEVICE float exponential(float x) {
  return __expf(x);
}
TTT_DEVICE float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
TTT_DEVICE float natural_logarithm(float x) {
  return logf(x);
}
TTT_DEVICE float reciprocal(float x) {
  return __frcp_rn(x);
}

}  // namespace ttt::kernels::cuda
