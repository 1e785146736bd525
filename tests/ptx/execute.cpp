// One value of each lane from others. Approximate functions are the exact ones, rounded: what a GPU's differ by is
// within the tests' tolerances.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "ptx/machine.h"

// All lanes of an instruction at once, where the processor has the vectors for it.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define TTT_PTX_CLONES __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define TTT_PTX_CLONES
#endif

namespace ttt::ptx {
namespace {

using S32 = std::int32_t;
using U32 = std::uint32_t;
using S64 = std::int64_t;
using U64 = std::uint64_t;

// The values of the active lanes to their register.
template <class T>
[[gnu::always_inline]] inline void store(void* result, Mask active, const T* values) {
  T* to = static_cast<T*>(result);
  if (active == kAllLanes) {
    for (int i = 0; i < kLanes; ++i) to[i] = values[i];
  } else {
    for (int i = 0; i < kLanes; ++i) to[i] = active >> i & 1 ? values[i] : to[i];
  }
}
// result = f(sources) for the active lanes.
template <class To, class From, class F>
[[gnu::always_inline]] inline void each(void* result, Mask active, const F& f, const void* a) {
  alignas(64) To out[kLanes];
  const From* x = static_cast<const From*>(a);
  for (int i = 0; i < kLanes; ++i) out[i] = f(x[i]);
  store(result, active, out);
}
template <class To, class A, class B, class F>
[[gnu::always_inline]] inline void each(void* result, Mask active, const F& f, const void* a, const void* b) {
  alignas(64) To out[kLanes];
  const A* x = static_cast<const A*>(a);
  const B* y = static_cast<const B*>(b);
  for (int i = 0; i < kLanes; ++i) out[i] = f(x[i], y[i]);
  store(result, active, out);
}
template <class T, class F>
[[gnu::always_inline]] inline void each3(void* result, Mask active, const F& f, const void* a, const void* b,
                                         const void* c) {
  alignas(64) T out[kLanes];
  const T *x = static_cast<const T*>(a), *y = static_cast<const T*>(b), *z = static_cast<const T*>(c);
  for (int i = 0; i < kLanes; ++i) out[i] = f(x[i], y[i], z[i]);
  store(result, active, out);
}
[[gnu::always_inline]] inline void set_predicate(void* result, Mask active, Mask value) {
  Mask& to = *static_cast<Mask*>(result);
  to = (to & ~active) | (value & active);
}
template <class T, class F>
[[gnu::always_inline]] inline void compare(void* result, Mask active, const F& f, const void* a, const void* b) {
  const T *x = static_cast<const T*>(a), *y = static_cast<const T*>(b);
  Mask mask = 0;
  for (int i = 0; i < kLanes; ++i) mask |= static_cast<Mask>(f(x[i], y[i])) << i;
  set_predicate(result, active, mask);
}
template <class T>
[[gnu::always_inline]] inline void select(void* result, Mask active, const void* a, const void* b, const void* p) {
  alignas(64) T out[kLanes];
  const T *x = static_cast<const T*>(a), *y = static_cast<const T*>(b);
  const Mask chosen = *static_cast<const Mask*>(p);
  for (int i = 0; i < kLanes; ++i) out[i] = chosen >> i & 1 ? x[i] : y[i];
  store(result, active, out);
}

float flushed(float x) {
  return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x;
}
std::uint32_t rounded_bf16(float x) {
  if (std::isnan(x)) return 0x7fff;
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

}  // namespace

TTT_PTX_CLONES void Machine::compute(Warp& warp, const Instruction& in, Mask active) {
  void* const d = row(warp, in.slots[0]);
  const void* const a = row(warp, in.slots[1]);
  const void* const b = row(warp, in.slots[in.sources > 1 ? 2 : 1]);
  const void* const c = row(warp, in.slots[in.sources > 2 ? 3 : 1]);
// NOLINTBEGIN: one line an instruction
#define UNARY(op, To, From, expr) \
  case Op::op:                    \
    return each<To, From>(        \
        d, active, [](From x) -> To { return static_cast<To>(expr); }, a);
#define BINARY(op, T, expr) \
  case Op::op:              \
    return each<T, T, T>(   \
        d, active, [](T x, T y) -> T { return static_cast<T>(expr); }, a, b);
#define WIDE(op, To, T, expr) \
  case Op::op:                \
    return each<To, T, T>(    \
        d, active, [](T x, T y) -> To { return static_cast<To>(expr); }, a, b);
#define SHIFT(op, T, expr)  \
  case Op::op:              \
    return each<T, T, U32>( \
        d, active, [](T x, U32 n) -> T { return static_cast<T>(expr); }, a, b);
#define COMPARE(op, T, expr) \
  case Op::op:               \
    return compare<T>(       \
        d, active, [](T x, T y) -> bool { return expr; }, a, b);
#define ORDERED(S, T)        \
  COMPARE(kLt##S, T, x < y)  \
  COMPARE(kLe##S, T, x <= y) \
  COMPARE(kGt##S, T, x > y)  \
  COMPARE(kGe##S, T, x >= y)
// A comparison with NaN is false, and with a `u` true.
#define FLOATING(S, T)                   \
  ORDERED(S, T)                          \
  COMPARE(kEq##S, T, x == y)             \
  COMPARE(kNe##S, T, x<y || x> y)        \
  COMPARE(kEqu##S, T, !(x < y || x > y)) \
  COMPARE(kNeu##S, T, x != y)            \
  COMPARE(kLtu##S, T, !(x >= y))         \
  COMPARE(kLeu##S, T, !(x > y))          \
  COMPARE(kGtu##S, T, !(x <= y))         \
  COMPARE(kGeu##S, T, !(x < y))
// Only lanes that are active: the others' values might trap.
#define DIVIDE(op, T, expr)                                                        \
  case Op::op:                                                                     \
    for (int i = 0; i < kLanes; ++i) {                                             \
      if (!(active >> i & 1)) continue;                                            \
      const T x = static_cast<const T*>(a)[i], y = static_cast<const T*>(b)[i];    \
      if (y == 0) problem(warp, in, i, "divides by zero");                         \
      if (y + 1 == 0 && x == std::numeric_limits<T>::min() && std::is_signed_v<T>) \
        problem(warp, in, i, "a quotient that overflows");                         \
      static_cast<T*>(d)[i] = static_cast<T>(expr);                                \
    }                                                                              \
    return;
  switch (in.op) {
    BINARY(kAdd32, U32, x + y)
    BINARY(kAdd64, U64, x + y)
    BINARY(kSub32, U32, x - y)
    BINARY(kSub64, U64, x - y)
    BINARY(kMul32, U32, x * y)
    BINARY(kMul64, U64, x * y)
    BINARY(kMulHiS32, S32, static_cast<S64>(x) * y >> 32)
    BINARY(kMulHiU64, U64, static_cast<unsigned __int128>(x) * y >> 64)
    WIDE(kMulWideS32, S64, S32, static_cast<S64>(x) * y)
    WIDE(kMulWideU32, U64, U32, static_cast<U64>(x) * y)
    case Op::kMad32:
      return each3<U32>(
          d, active, [](U32 x, U32 y, U32 z) { return x * y + z; }, a, b, c);
      DIVIDE(kDivS32, S32, x / y)
      DIVIDE(kDivU32, U32, x / y)
      DIVIDE(kDivS64, S64, x / y)
      DIVIDE(kRemS32, S32, x % y)
      DIVIDE(kRemU32, U32, x % y)
      DIVIDE(kRemS64, S64, x % y)
      BINARY(kMinS32, S32, x < y ? x : y)
      BINARY(kMaxS32, S32, x < y ? y : x)
      BINARY(kMinS64, S64, x < y ? x : y)
      BINARY(kMaxS64, S64, x < y ? y : x)
      UNARY(kNeg64, U64, U64, 0 - x)
      SHIFT(kShl32, U32, n > 31 ? 0 : x << (n & 31))
      SHIFT(kShl64, U64, n > 63 ? 0 : x << (n & 63))
      SHIFT(kShrS32, S32, x >> (n > 31 ? 31 : n))
      SHIFT(kShrU32, U32, n > 31 ? 0 : x >> (n & 31))
      SHIFT(kShrS64, S64, x >> (n > 63 ? 63 : n))
      SHIFT(kShrU64, U64, n > 63 ? 0 : x >> (n & 63))
    case Op::kAnd16:
      BINARY(kAnd32, U32, x & y)
      BINARY(kAnd64, U64, x & y)
      BINARY(kOr32, U32, x | y)
      BINARY(kOr64, U64, x | y)
      BINARY(kXor32, U32, x ^ y)
      UNARY(kNot32, U32, U32, ~x)
      UNARY(kNot64, U64, U64, ~x)
    case Op::kMove16:
    case Op::kLow16:
      UNARY(kMove32, U32, U32, x)
      UNARY(kMove64, U64, U64, x)
    case Op::kSelect32:
      return select<U32>(d, active, a, b, c);
    case Op::kSelect64:
      return select<U64>(d, active, a, b, c);
      UNARY(kExtendS32, S64, S32, x)
      UNARY(kExtendU32, U64, U32, x)
      UNARY(kExtendLowS32, S64, S64, static_cast<S32>(x))
      UNARY(kLow32, U32, U64, x)
      BINARY(kAddF32, float, x + y)
      BINARY(kSubF32, float, x - y)
      BINARY(kMulF32, float, x* y)
    case Op::kFmaF32:
      return each3<float>(
          d, active, [](float x, float y, float z) { return std::fma(x, y, z); }, a, b, c);
      UNARY(kNegF32, float, float, -x)
      BINARY(kDivF32, float, x / y)
      UNARY(kRcpF32, float, float, 1 / x)
      UNARY(kSqrtF32, float, float, std::sqrt(x))
      UNARY(kRsqrtF32, float, float, 1 / std::sqrt(static_cast<double>(x)))
      UNARY(kExp2F32, float, float, std::exp2(x))
      UNARY(kExp2FtzF32, float, float, flushed(std::exp2(flushed(x))))
      BINARY(kAddF64, double, x + y)
      BINARY(kSubF64, double, x - y)
      BINARY(kDivF64, double, x / y)
      UNARY(kF32FromS32, float, S32, x)
      UNARY(kF32FromF64, float, double, x)
      UNARY(kF64FromF32, double, float, x)
    // The first source goes to the upper half.
    case Op::kPackBf16:
      return each<U32, float, float>(
          d, active, [](float x, float y) { return rounded_bf16(x) << 16 | rounded_bf16(y); }, a, b);
      COMPARE(kEq32, U32, x == y)
      COMPARE(kNe32, U32, x != y)
      COMPARE(kEq64, U64, x == y)
      COMPARE(kNe64, U64, x != y)
      ORDERED(S32, S32)
      ORDERED(U32, U32)
      ORDERED(S64, S64)
      ORDERED(U64, U64)
      FLOATING(F32, float)
      FLOATING(F64, double)
    case Op::kAndPred:
      return set_predicate(d, active, *static_cast<const Mask*>(a) & *static_cast<const Mask*>(b));
    case Op::kOrPred:
      return set_predicate(d, active, *static_cast<const Mask*>(a) | *static_cast<const Mask*>(b));
    case Op::kXorPred:
      return set_predicate(d, active, *static_cast<const Mask*>(a) ^ *static_cast<const Mask*>(b));
    case Op::kNotPred:
      return set_predicate(d, active, ~*static_cast<const Mask*>(a));
    case Op::kMovePred:
      return set_predicate(d, active, *static_cast<const Mask*>(a));
    default:
      problem(warp, in, 0, "no computation");
  }
#undef UNARY
#undef BINARY
#undef WIDE
#undef SHIFT
#undef COMPARE
#undef ORDERED
#undef FLOATING
#undef DIVIDE
  // NOLINTEND
}

}  // namespace ttt::ptx
