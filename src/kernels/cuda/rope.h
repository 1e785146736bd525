// RoPE with the split into heads on a GPU: what a block does. A thread has n neighbouring values of one token in four
// heads, which take the same n places of the table.
#pragma once

#include <limits>
#include <type_traits>

#include "kernels/cuda/conv_rope_args.h"
#include "kernels/cuda/vectors.h"

namespace ttt::kernels::cuda {

template <int n>
bool vectors_fit(const RopeRows& table, int head_dim) {
  return head_dim % n == 0 && vectors_fit<n>(table.cos, table.sin);
}

// The rotation of n values, which are whole pairs. kDirection -1: back.
template <int n, int kDirection>
struct Rotation {
  float cos[n], sin[n];

  // at: the first value's place in the table.
  TTT_DEVICE Rotation(const RopeRows& table, std::int64_t at) {
    load_values<n>(table.cos + at, cos);
    load_values<n>(table.sin + at, sin);
  }
  TTT_DEVICE void apply(const float (&x)[n], float (&y)[n]) const {
    TTT_UNROLL
    for (int i = 0; i < n; ++i) y[i] = x[i] * cos[i] + kDirection * sin[i] * x[i ^ 1];
  }
};

// kDirection 1: from rows to heads, for RopeForward; -1: from heads to rows, for RopeBackward.
template <class Element, class To, int n, int kDirection>
struct RopeBlock {
  static constexpr int kThreads = 256;
  static constexpr int kSharedBytes = 0;
  static constexpr int kHeads = 4;  // of a thread

  using Arguments = std::conditional_t<kDirection == 1, RopeForward<Element, To>, RopeBackward<Element, To>>;
  const Arguments& args;

  TTT_DEVICE RopeBlock(const Arguments& arguments, char*) : args(arguments) {}

  static std::int64_t blocks(const Arguments& args) {
    const std::int64_t of_token = args.head_dim / n * ((args.heads + kHeads - 1) / kHeads);
    const std::int64_t threads = args.sequences * args.time * of_token;
    TTT_CHECK(threads <= std::numeric_limits<std::int32_t>::max(), "rope: ", args.shape());
    return (threads + kThreads - 1) / kThreads;
  }

  TTT_DEVICE void run() const {
    const unsigned vectors = args.head_dim / n, groups = (args.heads + kHeads - 1) / kHeads,
                   of_token = vectors * groups;
    const unsigned index = static_cast<unsigned>(block_in_grid()) * kThreads + thread_in_block();
    const unsigned token = index / of_token, time = static_cast<unsigned>(args.time);
    if (token >= args.sequences * args.time) return;
    const std::int64_t b = token / time, t = token % time;
    const unsigned position =
        static_cast<unsigned>(args.table.offset + t) % static_cast<unsigned>(args.table.positions);
    const int k = static_cast<int>(index % vectors) * n, group = static_cast<int>(index % of_token / vectors);
    const Rotation<n, kDirection> rotation(args.table, static_cast<std::int64_t>(position) * args.head_dim + k);
    if constexpr (kDirection == 1) {
      rotate(rotation, group, groups, args.x.data + b * args.x.sequence + t * args.x.row + k, args.head_dim,
             args.y.data + b * args.y.sequence + t * args.y.row + k, args.y.head);
    } else {
      rotate(rotation, group, groups, args.dy.data + b * args.dy.sequence + t * args.dy.row + k, args.dy.head,
             args.dx.data + b * args.dx.sequence + t * args.dx.row + k, args.head_dim);
    }
  }

  // Heads group, group + groups, ...: those that neighbouring threads take at a time are neighbours, too.
  template <class From, class Into>
  TTT_DEVICE void rotate(const Rotation<n, kDirection>& rotation, int group, int groups, const From* from,
                         std::int64_t from_head, Into* to, std::int64_t to_head) const {
    Packed<From, n> x[kHeads];
    TTT_UNROLL
    for (int i = 0; i < kHeads; ++i) {
      const int head = group + i * groups;
      x[i] = load_packed<n>(from + head * from_head, head < args.heads);
    }
    TTT_UNROLL
    for (int i = 0; i < kHeads; ++i) {
      const int head = group + i * groups;
      float value[n], y[n];
      unpack(x[i], value);
      rotation.apply(value, y);
      if (head < args.heads) store_values<n>(to + head * to_head, y);
    }
  }
};

}  // namespace ttt::kernels::cuda
