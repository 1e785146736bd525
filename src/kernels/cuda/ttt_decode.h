// Decoding with the TTT op on a GPU: one block a sequence and head, token after token, fp32. Equations:
// ../reference/ttt_reference.h; of the dual form, a token is the last row i of the open mini-batch:
//
//   Zq = Q W + c - sum_{j<=i} N_ij G_j,  N_ij = s_i sigma_j (Q . K_j + 1)
//
// Products of vectors with matrices: bound by reading W, which therefore is read in vectors of 16 bytes, many of them
// on their way at once (kAhead of each thread: 32 KB a block of 256 threads, 64 KB of 512), and once a token: by k and
// q together, by later products of the same token from the first cache. It is written where a mini-batch ends.
//
// Shapes: K head size, M hidden width of TTT-MLP, C mini-batch.
#pragma once

#include "kernels/cuda/tiles.h"
#include "kernels/cuda/ttt_decode_args.h"
#include "kernels/ttt_params.h"

namespace ttt::kernels::cuda {

// What both kinds share. kWidth: the most columns of a weight.
template <class Element, int kBlockThreads, int kWidth>
struct TttDecodeBase {
  static constexpr int kThreads = kBlockThreads;
  static constexpr int kAhead = 4;  // 16-byte loads of a thread that are under way at once
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
    float q[kMostHeadDim], k[kMostHeadDim], target[kMostHeadDim];  // target = v - k
    float g[kMostHeadDim];                                         // of the last layer's output
    float n[kMostMiniBatch];                                       // N_ij of the token
    float x2[kWidth], slope[kWidth];                               // TTT-MLP: X2, then X2q; phi'(Z1)
    float sums[2][4 * kThreads];                                   // parts of two products
  };
  static constexpr int kSharedBytes = sizeof(Memory);

  const TttDecode<Element>& args;
  Memory& memory;
  const int thread = thread_in_block();
  const int head_dim = args.in.head_dim, mini_batch = args.mini_batch;
  int open = args.num_open;  // rows before the token
  Four gain, bias;           // of the columns that this lane of warp 0 has: 4 lane ..

  TTT_DEVICE TttDecodeBase(const TttDecode<Element>& arguments, char* shared)
      : args(arguments), memory(*reinterpret_cast<Memory*>(shared)) {
    const int at = block_in_grid() % args.in.heads * head_dim + 4 * thread;
    if (has_columns()) gain = four(args.in.gain + at), bias = four(args.in.bias + at);
  }

  // The part of a state's tensor that is this block's: `size` values.
  TTT_DEVICE float* own(float* tensor, int size) const {
    return tensor + static_cast<std::int64_t>(block_in_grid()) * size;
  }
  TTT_DEVICE float* keys() const { return own(args.k, mini_batch * head_dim); }
  TTT_DEVICE float* sigma() const { return own(args.sigma, mini_batch); }
  template <class T>
  TTT_DEVICE T* row_of_head(const HeadRows<T>& x, std::int64_t t) const {
    return x.data + block_in_grid() / args.in.heads * x.sequence + block_in_grid() % args.in.heads * x.head + t * x.row;
  }

  // Asks for what is needed later, so that it is on its way while something else is waited for.
  TTT_DEVICE void prefetch(const float* data, int size) const {
    for (int i = 32 * thread; i < size; i += 32 * kThreads) prefetch_line(data + i);
  }

  TTT_DEVICE static float value(std::uint16_t x) { return low_bf16(x); }
  TTT_DEVICE static float value(float x) { return x; }
  // Token t: q, k and target; its key and sigma are row `open` of the mini-batch.
  TTT_DEVICE void read_token(std::int64_t t) {
    sync_block();  // all have done with the token before
    for (int i = thread; i < head_dim; i += kThreads) {
      const float key = value(row_of_head(args.in.k, t)[i]);
      memory.q[i] = value(row_of_head(args.in.q, t)[i]);
      memory.target[i] = value(row_of_head(args.in.v, t)[i]) - key;
      memory.k[i] = keys()[open * head_dim + i] = key;
    }
    if (thread == 0) sigma()[open] = *row_of_head(args.in.sigma, t);
    sync_block();
  }

  // --- products: a thread has four columns, 4 * (thread % (cols / 4)) .., and every groups-th row ---

  TTT_DEVICE static int groups_of(int cols) { return kThreads / (cols / 4); }

  // Of the thread's rows of X [rows,cols], those at begin, begin + groups ..
  TTT_DEVICE void load_rows(Four (&part)[kAhead], const float* matrix, int begin, int rows, int cols) const {
    const float* at = matrix + begin * cols + thread % (cols / 4) * 4;
    TTT_UNROLL
    for (int i = 0; i < kAhead; ++i)
      part[i] = begin + i * groups_of(cols) < rows ? four(at + i * groups_of(cols) * cols) : Four{};
  }
  // x X + c for each vector x in shared memory, X [rows,cols] and c (null: 0) in global memory: this thread's parts, of
  // products `first`, `first` + 1 .., which sum_of() adds up after the next barrier.
  template <int kVectors>
  TTT_DEVICE void multiply(const float* const (&x)[kVectors], const float* matrix, int rows, int cols, const float* c,
                           int first) const {
    const int group = thread / (cols / 4), col = thread % (cols / 4) * 4, groups = groups_of(cols);
    if (group >= groups || group >= rows) return;
    Four sums[kVectors] = {};
    if (c != nullptr && group == 0) {
      TTT_UNROLL
      for (int n = 0; n < kVectors; ++n) sums[n] = four(c + col);
    }
    for (int begin = group; begin < rows; begin += kAhead * groups) {
      Four part[kAhead];
      load_rows(part, matrix, begin, rows, cols);
      TTT_UNROLL
      for (int i = 0; i < kAhead; ++i) {
        const int row = begin + i * groups;
        if (row >= rows) break;
        TTT_UNROLL
        for (int n = 0; n < kVectors; ++n) sums[n].add(x[n][row], part[i]);
      }
    }
    TTT_UNROLL
    for (int n = 0; n < kVectors; ++n) four(memory.sums[first + n] + group * cols + col) = sums[n];
  }
  // Column `col` of a product with X [rows,cols].
  TTT_DEVICE float sum_of(int product, int rows, int cols, int col) const {
    const int parts = rows < groups_of(cols) ? rows : groups_of(cols);
    float sum = 0;
    for (int part = 0; part < parts; ++part) sum += memory.sums[product][part * cols + col];
    return sum;
  }

  // use(row, x . X_row) for the rows of X [rows,cols], by some thread each: eight lanes a row, 128 bytes at a time.
  template <class Use>
  TTT_DEVICE void dot_rows(const float* x, const float* matrix, int rows, int cols, const Use& use) const {
    constexpr int kLanes = 8, kStep = kThreads / kLanes, kRows = 4;
    const int lane = thread % kLanes;
    for (int begin = 0; begin < rows; begin += kRows * kStep) {
      const int first = begin + thread / kLanes;
      float sums[kRows] = {};
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
    dot_rows(query, keys, open + 1, cols, [&](int j, float a) { memory.n[j] = scale * sigma()[j] * (a + 1); });
  }

  // --- rows of K values in warp 0: a lane has columns 4 lane .. 4 lane + 3, zeros beyond K ---

  TTT_DEVICE bool has_columns() const { return 4 * thread < head_dim; }

  // Of a product with X [rows,K].
  TTT_DEVICE Four columns(int product, int rows) const {
    const int parts = rows < groups_of(head_dim) ? rows : groups_of(head_dim);
    Four sum = {};
    for (int part = 0; part < parts && has_columns(); ++part)
      sum.add(1, four(memory.sums[product] + part * head_dim + 4 * thread));
    return sum;
  }
  TTT_DEVICE float mean(const Four& x) const {
    float sum = x.x[0] + x.x[1] + x.x[2] + x.x[3];
    TTT_UNROLL
    for (int mask = 16; mask > 0; mask /= 2) sum += shuffle_xor(sum, mask);
    return sum / static_cast<float>(head_dim);
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
      const Four target = four(memory.target + 4 * thread);
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
    const Four query = four(memory.q + 4 * thread);
    TTT_UNROLL
    for (int i = 0; i < 4; ++i) zq.x[i] = query.x[i] + gain.x[i] * zq.x[i] + bias.x[i];
    Element* o = row_of_head(args.o, t) + 4 * thread;
    store_two(o, zq.x[0], zq.x[1]);
    store_two(o + 2, zq.x[2], zq.x[3]);
  }

  // W' = W - (e X)^T G, c' = c - e^T G over the whole mini-batch; W [rows,cols], X [C,rows], G [C,cols].
  TTT_DEVICE void update(float* w, float* c, const float* x, int rows, const float* g, int cols) const {
    const float scale = args.in.scale[mini_batch - 1];
    const int group = thread / (cols / 4), col = thread % (cols / 4) * 4, groups = groups_of(cols);
    for (int begin = group < groups ? group : rows; begin < rows; begin += kAhead * groups) {
      Four part[kAhead];
      load_rows(part, w, begin, rows, cols);
      for (int j = 0; j < mini_batch; ++j) {
        const Four gradient = four(g + j * cols + col);
        const float e = scale * sigma()[j];
        TTT_UNROLL
        for (int i = 0; i < kAhead; ++i) {
          const int row = begin + i * groups;
          if (row < rows) part[i].add(-e * x[j * rows + row], gradient);
        }
      }
      TTT_UNROLL
      for (int i = 0; i < kAhead; ++i) {
        const int row = begin + i * groups;
        if (row < rows) four(w + row * cols + col) = part[i];
      }
    }
    for (int i = thread; i < cols; i += kThreads) {
      float sum = 0;
      for (int j = 0; j < mini_batch; ++j) sum += scale * sigma()[j] * g[j * cols + i];
      c[i] -= sum;
    }
  }
};

template <class Element>
struct TttLinearDecodeBlock : TttDecodeBase<Element, 256, kMostHeadDim> {
  using Base = TttDecodeBase<Element, 256, kMostHeadDim>;
  using Base::args, Base::memory, Base::thread, Base::head_dim, Base::mini_batch, Base::open, Base::keys;
  using typename Base::Four;

  TTT_DEVICE float* w() const { return this->own(args.w1, head_dim* head_dim); }
  TTT_DEVICE float* c() const { return this->own(args.b1, head_dim); }
  TTT_DEVICE float* g() const { return this->own(args.g1, mini_batch* head_dim); }

  TTT_DEVICE TttLinearDecodeBlock(const TttDecode<Element>& arguments, char* shared) : Base(arguments, shared) {
    this->prefetch(w(), head_dim * head_dim);
    this->prefetch(c(), head_dim);
    this->prefetch(keys(), open * head_dim);
    this->prefetch(g(), open * head_dim);
  }

  TTT_DEVICE void token(std::int64_t t) {
    this->read_token(t);
    // Z = K W + c;  Q W + c;  N
    this->template multiply<2>({memory.k, memory.q}, w(), head_dim, head_dim, c(), 0);
    this->dual_mask(memory.q, keys(), head_dim);
    sync_block();
    if (thread < 32) this->inner_gradient(this->columns(0, head_dim), g() + open * head_dim);
    sync_block();
    // Zq = Q W + c() - N G
    this->template multiply<1>({memory.n}, g(), open + 1, head_dim, nullptr, 0);
    sync_block();
    if (thread < 32) {
      Four zq = this->columns(1, head_dim);
      zq.add(-1, this->columns(0, open + 1));
      this->output(zq, t);
    }
    if (++open < mini_batch) return;
    this->update(w(), c(), keys(), head_dim, g(), head_dim);
    open = 0;
  }
  TTT_DEVICE void run() {
    for (std::int64_t t = 0; t < args.in.time; ++t) token(t);
  }
};

// phi, the tanh form of GELU, in terms of s = (1 + tanh u) / 2 = 1 / (1 + e^-2u), u = k (x + a x^3):
// phi = x s, phi' = s + 2 x s (1 - s) u'.
struct DecodeGelu {
  float value, slope;
  TTT_DEVICE explicit DecodeGelu(float x) {
    constexpr float k = 0.79788456f, a = 0.044715f;
    const float s = reciprocal(1 + exponential(-2 * k * (x + a * x * x * x)));
    value = x * s;
    slope = s + 2 * x * s * (1 - s) * k * (1 + 3 * a * x * x);
  }
};

template <class Element>
struct TttMlpDecodeBlock : TttDecodeBase<Element, 512, kMostHidden> {
  using Base = TttDecodeBase<Element, 512, kMostHidden>;
  using Base::args, Base::memory, Base::thread, Base::head_dim, Base::mini_batch, Base::open, Base::keys,
      Base::kThreads;
  using typename Base::Four;

  const int hidden = args.hidden;
  TTT_DEVICE float* w1() const { return this->own(args.w1, head_dim* hidden); }
  TTT_DEVICE float* c1() const { return this->own(args.b1, hidden); }
  TTT_DEVICE float* w2() const { return this->own(args.w2, hidden* head_dim); }
  TTT_DEVICE float* c2() const { return this->own(args.b2, head_dim); }
  TTT_DEVICE float* g1() const { return this->own(args.g1, mini_batch* hidden); }
  TTT_DEVICE float* x2() const { return this->own(args.x2, mini_batch* hidden); }
  TTT_DEVICE float* g2() const { return this->own(args.g2, mini_batch* head_dim); }

  TTT_DEVICE TttMlpDecodeBlock(const TttDecode<Element>& arguments, char* shared) : Base(arguments, shared) {
    this->prefetch(w1(), head_dim * hidden);
    this->prefetch(c1(), hidden);
    this->prefetch(w2(), hidden * head_dim);
    this->prefetch(c2(), head_dim);
    this->prefetch(keys(), open * head_dim);
    this->prefetch(g1(), open * hidden);
    this->prefetch(x2(), open * hidden);
    this->prefetch(g2(), open * head_dim);
  }

  TTT_DEVICE void token(std::int64_t t) {
    this->read_token(t);
    // Z1 = K W1 + c1;  Q W1 + c1;  N1
    this->template multiply<2>({memory.k, memory.q}, w1(), head_dim, hidden, c1(), 0);
    this->dual_mask(memory.q, keys(), head_dim);
    sync_block();
    for (int m = thread; m < hidden; m += kThreads) {
      const DecodeGelu gelu(this->sum_of(0, head_dim, hidden, m));
      memory.x2[m] = x2()[open * hidden + m] = gelu.value;
      memory.slope[m] = gelu.slope;
    }
    sync_block();
    // Z2 = X2 W2 + c2;  G2;  G1 = (G2 W2^T) (.) phi'(Z1)
    this->template multiply<1>({memory.x2}, w2(), hidden, head_dim, c2(), 0);
    sync_block();
    if (thread < 32) this->inner_gradient(this->columns(0, hidden), g2() + open * head_dim);
    sync_block();
    this->dot_rows(memory.g, w2(), hidden, head_dim,
                   [&](int m, float b) { g1()[open * hidden + m] = b * memory.slope[m]; });
    sync_block();
    // Z1q = Q W1 + c1() - N1 G1;  X2q = phi(Z1q)
    this->template multiply<1>({memory.n}, g1(), open + 1, hidden, nullptr, 0);
    sync_block();
    for (int m = thread; m < hidden; m += kThreads)
      memory.x2[m] = DecodeGelu(this->sum_of(1, head_dim, hidden, m) - this->sum_of(0, open + 1, hidden, m)).value;
    sync_block();
    // Z2q = X2q W2 + c2() - N2 G2
    this->template multiply<1>({memory.x2}, w2(), hidden, head_dim, c2(), 0);
    this->dual_mask(memory.x2, x2(), hidden);
    sync_block();
    this->template multiply<1>({memory.n}, g2(), open + 1, head_dim, nullptr, 1);
    sync_block();
    if (thread < 32) {
      Four zq = this->columns(0, hidden);
      zq.add(-1, this->columns(1, open + 1));
      this->output(zq, t);
    }
    if (++open < mini_batch) return;
    this->update(w1(), c1(), keys(), head_dim, g1(), hidden);
    this->update(w2(), c2(), x2(), hidden, g2(), head_dim);
    open = 0;
  }
  TTT_DEVICE void run() {
    for (std::int64_t t = 0; t < args.in.time; ++t) token(t);
  }
};

}  // namespace ttt::kernels::cuda
