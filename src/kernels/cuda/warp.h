// The words that the CUDA kernels are written in: what a thread asks of its warp, its block and the machine. They have
// two implementations: PTX on a GPU (warp_ptx.h, sm_80 and newer), and lanes emulated one after the other on any
// processor (warp_emulated.h), under which the very kernel source runs in unit tests, fragment layouts included.
//
// Fragments of mma.sync m16n8k16 (PTX ISA, "Matrix Fragments for mma.m16n8k16"), lane = 4 g + t with g in [0,8), t in
// [0,4); a word holds two bf16, the lower half first:
//
//   A [16,16]  a0 (g, 2t..2t+1)      a1 (g+8, 2t..2t+1)    a2 (g, 2t+8..2t+9)    a3 (g+8, 2t+8..2t+9)
//   B [16,8]   b0 (2t..2t+1, g)      b1 (2t+8..2t+9, g)
//   C [16,8]   c0, c1 (g, 2t..2t+1)  c2, c3 (g+8, 2t..2t+1)                                          fp32
//
// warp_emulated.h says what each word does. A function that says "all lanes" must be reached by the 32 lanes of a warp
// together; sync_block by all threads.
#pragma once

#ifdef __CUDACC__
#include "kernels/cuda/warp_ptx.h"
#else
#include "kernels/cuda/warp_emulated.h"
#endif
