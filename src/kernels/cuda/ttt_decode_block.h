// What TTT-Linear's and TTT-MLP's decoding share: one block works on one sequence and head, token after token, all in
// fp32. Equations: ../reference/ttt_reference.h; a token is the last row i of the open mini-batch, so that the dual
// form is of vectors,
//
//   Zq = Q W + c - sum_{j<=i} N_ij G_j,  N_ij = s_i sigma_j (Q . K_j + 1)
//
// Reading W is what takes the time. It is read once a token, by k and q together (by later products of the token from
// the first cache), and written where a mini-batch ends. A thread has four loads of 16 bytes under way, 16 KB a block
// of 256 threads and 32 KB of 512; before that the whole state is on its way to the second cache.
//
// Shapes: K head size, M hidden width of TTT-MLP, C mini-batch.
#pragma once

#include "kernels/cuda/tiles.h"
#include "kernels/cuda/ttt_decode_args.h"
#include "kernels/cuda/vectors.h"
#include "kernels/ttt_params.h"

namespace ttt::kernels::cuda {

// kHeadDim: K, with M = 4 K, or 0: those of the call. kWidth: the most columns of a weight.
template <class Element, int kHeadDim, int kBlockThreads, int kWidth>
struct TttDecodeBase {
  static constexpr int kThreads = kBlockThreads;
  static_assert(kWidth <= 4 * kThreads);

  // Four neighbouring values of a row.
  struct alignas(16) Four {
    float x[4];
    TTT_DEVICE void add(float factor, const Four& other) {
      TTT_UNROLL
      for (int i = 0; i < 4; ++i) x[i] += factor * other.x[i];
    }
  };
  TTT_DEVICE static Four& four(float* p) { return *reinterpret_cast<Four*>(p); }
  TTT_DEVICE static const Four& four(const float* p) { return *reinterpret_cast<const Four*>(p); }

  struct alignas(16) Memory {
    float gain[kMostHeadDim], bias[kMostHeadDim];
    float q[kMostHeadDim], k[kMostHeadDim], target[kMostHeadDim];  // target = v - k
    float g[kMostHeadDim];                                         // of the last layer's output
    float n[kMostMiniBatch];                                       // N_ij of the token; e
    float x2[kWidth], slope[kWidth];                               // TTT-MLP: X2, then X2q; phi'(Z1)
    float sums[2][4 * kThreads];                                   // parts of two products
    struct {
      const Element *q, *k, *v;
      Element* o;
      const float* sigma;
    } rows;  // where the head's begin: in registers they would be two each
  };
  static constexpr int kSharedBytes = sizeof(Memory);

  const TttDecode<Element>& args;
  Memory& memory;
  const int thread = thread_in_block();
  const int mini_batch = args.mini_batch;
  int open = args.num_open;  // rows before the token

  TTT_DEVICE TttDecodeBase(const TttDecode<Element>& arguments, char* shared)
      : args(arguments), memory(*reinterpret_cast<Memory*>(shared)) {
    const int sequence = block_in_grid() / args.in.heads, head = block_in_grid() % args.in.heads;
    const auto begin = [&](const auto& x) { return x.data + sequence * x.sequence + head * x.head; };
    if (thread == 0)
      memory.rows = {begin(args.in.q), begin(args.in.k), begin(args.in.v), begin(args.o), begin(args.in.sigma)};
    if (has_columns()) {
      const int at = head * head_dim() + 4 * thread;
      copy_16_bytes(memory.gain + 4 * thread, args.in.gain + at, true);
      copy_16_bytes(memory.bias + 4 * thread, args.in.bias + at, true);
    }
    close_copies();
  }

  TTT_DEVICE int head_dim() const { return kHeadDim != 0 ? kHeadDim : recomputed(args.in.head_dim); }

  // The part of a state's tensor that is this block's: `size` values.
  TTT_DEVICE float* own(float* tensor, int size) const {
    return tensor + static_cast<std::int64_t>(recomputed(block_in_grid())) * size;
  }
  TTT_DEVICE float* keys() const { return own(args.k, mini_batch * head_dim()); }
  TTT_DEVICE float* sigma() const { return own(args.sigma, mini_batch); }

  // Asks for what is needed later, so that it is on its way while something else is waited for.
  TTT_DEVICE void prefetch(const float* data, int size) const {
    for (int i = 32 * thread; i < size; i += 32 * kThreads) prefetch_line(data + i);
  }

  // Token t: q, k and target; its key and sigma are row `open` of the mini-batch.
  TTT_DEVICE void read_token(std::int64_t t) {
    sync_block();  // all have done with the token before, or thread 0 with `rows`
    for (int i = thread; i < head_dim(); i += kThreads) {
      const float key = value_of(memory.rows.k[t * args.in.k.row + i]);
      memory.q[i] = value_of(memory.rows.q[t * args.in.q.row + i]);
      memory.target[i] = value_of(memory.rows.v[t * args.in.v.row + i]) - key;
      memory.k[i] = keys()[open * head_dim() + i] = key;
    }
    if (thread == 0) sigma()[open] = memory.rows.sigma[t * args.in.sigma.row];
    wait_for_copies<0>();
    sync_block();
  }

  // --- products with a matrix [rows,cols] in global memory: groups of cols / 4 threads take four rows at a time ---

  TTT_DEVICE static int groups_of(int cols) { return kThreads / (cols / 4); }
  // A thread's columns, col .. col + 3, and rows, row .. row + 3 and those further on by `step`.
  struct Tiles {
    int group, row, col, step;
    TTT_DEVICE Tiles(int thread, int cols)
        : group(thread / (cols / 4)),
          row(group < groups_of(cols) ? 4 * group : kMostHidden),  // none: threads left over
          col(thread % (cols / 4) * 4),
          step(4 * groups_of(cols)) {}
  };
  TTT_DEVICE Tiles tiles(int cols) const { return {recomputed(thread), cols}; }

  // x X + c for each vector x in shared memory, X [rows,cols] and c (null: 0) in global memory: this thread's parts, of
  // products `first`, `first` + 1 .., which sum_of() adds up after the next barrier.
  template <int kVectors>
  TTT_DEVICE void multiply(const float* const (&x)[kVectors], const float* matrix, int rows, int cols, const float* c,
                           int first) const {
    const Tiles own = tiles(cols);
    if (own.row >= rows) return;
    Four sums[kVectors] = {};
    if (c != nullptr && own.group == 0) {
      TTT_UNROLL
      for (int n = 0; n < kVectors; ++n) sums[n] = four(c + own.col);
    }
    for (int row = own.row; row < rows; row += own.step) {
      Four tile[4];
      TTT_UNROLL
      for (int i = 0; i < 4; ++i)
        if (row + i < rows) tile[i] = four(matrix + (row + i) * cols + own.col);
      TTT_UNROLL
      for (int i = 0; i < 4; ++i) {
        TTT_UNROLL
        for (int n = 0; n < kVectors; ++n)
          if (row + i < rows) sums[n].add(x[n][row + i], tile[i]);
      }
    }
    TTT_UNROLL
    for (int n = 0; n < kVectors; ++n) four(memory.sums[first + n] + own.group * cols + own.col) = sums[n];
  }
  TTT_DEVICE static int parts_of(int rows, int cols) {
    return (rows + 3) / 4 < groups_of(cols) ? (rows + 3) / 4 : groups_of(cols);
  }
  // Column `col` of a product.
  TTT_DEVICE float sum_of(int product, int rows, int cols, int col) const {
    const int parts = parts_of(rows, cols);
    float sum = 0;
    for (int part = 0; part < parts; ++part) sum += memory.sums[product][part * cols + col];
    return sum;
  }

  // use(row, x . X_row) for the rows of X [rows,cols], by some thread each: kLanes threads have four rows at a time.
  template <int kLanes, class Use>
  TTT_DEVICE void dot_rows(const float* x, const float* matrix, int rows, int cols, const Use& use) const {
    constexpr int kStep = kThreads / kLanes, kRows = 4;
    const int place = recomputed(thread), lane = place % kLanes;
    for (int begin = 0; begin < rows; begin += kRows * kStep) {
      const int first = begin + place / kLanes;
      float sums[kRows] = {};
      TTT_ROLLED
      for (int col = 4 * lane; col < cols; col += 4 * kLanes) {
        const Four factor = four(x + col);
        TTT_UNROLL
        for (int i = 0; i < kRows; ++i) {
          if (first + i * kStep >= rows) break;
          const Four part = four(matrix + (first + i * kStep) * cols + col);
          TTT_UNROLL
          for (int k = 0; k < 4; ++k) sums[i] += factor.x[k] * part.x[k];
        }
      }
      TTT_UNROLL
      for (int i = 0; i < kRows; ++i) {
        if (begin + i * kStep >= rows) break;  // the same for all threads
        TTT_UNROLL
        for (int mask = kLanes / 2; mask > 0; mask /= 2) sums[i] += shuffle_xor(sums[i], mask);
        if (lane == 0 && first + i * kStep < rows) use(first + i * kStep, sums[i]);
      }
    }
  }
  // n_j = N_ij for the open rows of `keys` [C,cols] and the token's.
  TTT_DEVICE void dual_mask(const float* query, const float* keys, int cols) const {
    const float scale = args.in.scale[open];
    dot_rows<32>(query, keys, open + 1, cols, [&](int j, float a) { memory.n[j] = scale * sigma()[j] * (a + 1); });
  }

  // --- rows of K values in warp 0: a lane has columns 4 lane .. 4 lane + 3, zeros beyond K ---

  TTT_DEVICE bool has_columns() const { return 4 * thread < head_dim(); }

  // Of a product with X [rows,K].
  TTT_DEVICE Four columns(int product, int rows) const {
    const int parts = has_columns() ? parts_of(rows, head_dim()) : 0;
    Four sum = {};
    TTT_ROLLED
    for (int first = 0; first < parts; first += 8) {
      TTT_UNROLL
      for (int part = first; part < first + 8; ++part)
        if (part < parts) sum.add(1, four(memory.sums[product] + part * head_dim() + 4 * thread));
    }
    return sum;
  }
  TTT_DEVICE float mean(const Four& x) const {
    float sum = x.x[0] + x.x[1] + x.x[2] + x.x[3];
    TTT_UNROLL
    for (int mask = 16; mask > 0; mask /= 2) sum += shuffle_xor(sum, mask);
    return sum / static_cast<float>(head_dim());
  }
  TTT_DEVICE float mean_product(const Four& x, const Four& y) const {
    return mean({x.x[0] * y.x[0], x.x[1] * y.x[1], x.x[2] * y.x[2], x.x[3] * y.x[3]});
  }
  // z becomes xh; r = 1 / sqrt(var + eps).
  TTT_DEVICE float normalise(Four& z) const {
    const float average = mean(z);
    TTT_UNROLL
    for (int i = 0; i < 4; ++i) z.x[i] = has_columns() ? z.x[i] - average : 0.0f;
    const float r = inverse_sqrt(mean_product(z, z) + static_cast<float>(kLayerNormEps));
    TTT_UNROLL
    for (int i = 0; i < 4; ++i) z.x[i] *= r;
    return r;
  }
  // G = r * P(H; xh), H = gain (.) (gain xh + bias - target), of Z; to memory.g and `row`.
  TTT_DEVICE void inner_gradient(Four z, float* row) const {
    const float r = normalise(z);
    Four h = {};
    if (has_columns()) {
      const Four gain = four(memory.gain + 4 * thread), bias = four(memory.bias + 4 * thread),
                 target = four(memory.target + 4 * thread);
      TTT_UNROLL
      for (int i = 0; i < 4; ++i) h.x[i] = gain.x[i] * (gain.x[i] * z.x[i] + bias.x[i] - target.x[i]);
    }
    const float mean_h = mean(h), mean_h_xh = mean_product(h, z);
    TTT_UNROLL
    for (int i = 0; i < 4; ++i) h.x[i] = r * (h.x[i] - mean_h - z.x[i] * mean_h_xh);
    if (has_columns()) four(memory.g + 4 * thread) = four(row + 4 * thread) = h;
  }
  // O = Q + gain xhq + bias, of Zq.
  TTT_DEVICE void output(Four zq, std::int64_t t) const {
    normalise(zq);
    if (!has_columns()) return;
    const Four gain = four(memory.gain + 4 * thread), bias = four(memory.bias + 4 * thread),
               query = four(memory.q + 4 * thread);
    TTT_UNROLL
    for (int i = 0; i < 4; ++i) zq.x[i] = query.x[i] + gain.x[i] * zq.x[i] + bias.x[i];
    Element* o = memory.rows.o + t * args.o.row + 4 * thread;
    store_two(o, zq.x[0], zq.x[1]);
    store_two(o + 2, zq.x[2], zq.x[3]);
  }

  // e to memory.n, for update().
  TTT_DEVICE void last_rates() const {
    if (thread < mini_batch) memory.n[thread] = args.in.scale[mini_batch - 1] * sigma()[thread];
    sync_block();
  }
  // W' = W - (e X)^T G, c' = c - e^T G over the whole mini-batch; W [rows,cols], X [C,rows], G [C,cols].
  TTT_DEVICE void update(float* w, float* c, const float* x, int rows, const float* g, int cols) const {
    const Tiles own = tiles(cols);
    for (int row = own.row; row < rows; row += own.step) {
      float* const at = w + row * cols + own.col;
      Four tile[4];
      TTT_UNROLL
      for (int i = 0; i < 4; ++i) tile[i] = four(at + i * cols);
      TTT_ROLLED
      for (int first = 0; first < mini_batch; first += 2) {
        TTT_UNROLL
        for (int j = first; j < first + 2; ++j) {
          if (j >= mini_batch) break;
          const Four values = four(x + j * rows + row), gradient = four(g + j * cols + own.col);
          TTT_UNROLL
          for (int i = 0; i < 4; ++i) tile[i].add(-memory.n[j] * values.x[i], gradient);
        }
      }
      TTT_UNROLL
      for (int i = 0; i < 4; ++i) four(at + i * cols) = tile[i];
    }
    for (int i = thread; i < cols; i += kThreads) {
      float sum = 0;
      for (int j = 0; j < mini_batch; ++j) sum += memory.n[j] * g[j * cols + i];
      c[i] -= sum;
    }
  }
};

}  // namespace ttt::kernels::cuda
