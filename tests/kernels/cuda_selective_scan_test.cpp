// The CUDA kernels of the selective scan, their very source run by emulated lanes, against loops in double.
#include <map>
#include <random>

#include "kernels/cuda/selective_scan_backward.h"
#include "kernels/cuda/selective_scan_forward.h"
#include "kernels/cuda_moved_testing.h"

namespace ttt::kernels::cuda {
namespace {

constexpr std::int64_t N = kScanStates;
constexpr double kTolerance = 1e-5;  // fp32; exponentials to a few units in the last place

// Random arguments and, in double, what the scan makes of them.
struct ScanCase {
  std::int64_t sequences, time, channels;
  std::vector<double> x, dt, A, B, C, D, h, dy;
  std::vector<double> y, h_end, starts;

  ScanCase(std::int64_t sequence_count, std::int64_t tokens, std::int64_t width, bool with_state)
      : sequences(sequence_count), time(tokens), channels(width) {
    std::mt19937 random(5);
    std::normal_distribution<double> normal;
    std::uniform_real_distribution<double> uniform;
    const auto fill = [](std::vector<double>& values, std::int64_t n, const auto& value) {
      values.resize(n);
      for (double& one : values) one = static_cast<float>(value());
    };
    fill(x, sequences * time * channels, [&] { return normal(random); });
    fill(dt, sequences * time * channels, [&] { return std::exp(-4 + 3 * uniform(random)); });
    fill(A, N * channels, [&] { return -0.1 - 8 * uniform(random); });
    fill(B, sequences * time * N, [&] { return normal(random); });
    fill(C, sequences * time * N, [&] { return normal(random); });
    fill(D, channels, [&] { return normal(random); });
    fill(h, sequences * N * channels, [&] { return with_state ? normal(random) : 0.0; });
    fill(dy, sequences * time * channels, [&] { return normal(random); });
    scan();
  }

  std::int64_t chunks() const { return (time + 15) / 16; }
  std::int64_t at(std::int64_t b, std::int64_t t, std::int64_t e) const { return (b * time + t) * channels + e; }
  std::int64_t of_token(std::int64_t b, std::int64_t t, std::int64_t n) const { return (b * time + t) * N + n; }
  std::int64_t of_state(std::int64_t b, std::int64_t n, std::int64_t e) const { return (b * N + n) * channels + e; }

  void scan() {
    y.assign(x.size(), 0), h_end = h, starts.assign(sequences * chunks() * N * channels, 0);
    for (std::int64_t b = 0; b < sequences; ++b)
      for (std::int64_t t = 0; t < time; ++t)
        for (std::int64_t e = 0; e < channels; ++e) {
          double out = D[e] * x[at(b, t, e)];
          for (std::int64_t n = 0; n < N; ++n) {
            double& state = h_end[of_state(b, n, e)];
            if (t % 16 == 0) starts[of_state(b * chunks() + t / 16, n, e)] = state;
            state = std::exp(dt[at(b, t, e)] * A[n * channels + e]) * state +
                    dt[at(b, t, e)] * B[of_token(b, t, n)] * x[at(b, t, e)];
            out += C[of_token(b, t, n)] * state;
          }
          y[at(b, t, e)] = out;
        }
  }

  // Of sum(dy (.) y), one channel and state after the other; the first state is zero.
  std::map<std::string, std::vector<double>> gradients() const {
    std::vector<double> dx(x.size()), d_dt(x.size()), dA(A.size()), dB(B.size()), dC(C.size()), dD(channels);
    std::vector<double> state(time + 1);
    for (std::int64_t b = 0; b < sequences; ++b)
      for (std::int64_t e = 0; e < channels; ++e) {
        for (std::int64_t t = 0; t < time; ++t) {
          dD[e] += dy[at(b, t, e)] * x[at(b, t, e)];
          dx[at(b, t, e)] += dy[at(b, t, e)] * D[e];
        }
        for (std::int64_t n = 0; n < N; ++n) {
          const double a = A[n * channels + e];
          const auto decay = [&](std::int64_t t) { return std::exp(dt[at(b, t, e)] * a); };
          for (std::int64_t t = 0; t < time; ++t)
            state[t + 1] = decay(t) * state[t] + dt[at(b, t, e)] * B[of_token(b, t, n)] * x[at(b, t, e)];
          double dh = 0;
          for (std::int64_t t = time - 1; t >= 0; --t) {
            const std::int64_t i = at(b, t, e), j = of_token(b, t, n);
            dC[j] += dy[i] * state[t + 1];
            dh += dy[i] * C[j];
            dx[i] += dh * dt[i] * B[j];
            dB[j] += dh * dt[i] * x[i];
            d_dt[i] += dh * (B[j] * x[i] + a * decay(t) * state[t]);
            dA[n * channels + e] += dh * dt[i] * decay(t) * state[t];
            dh *= decay(t);
          }
        }
      }
    return {{"x", dx}, {"dt", d_dt}, {"A", dA}, {"B", dB}, {"C", dC}, {"D", dD}};
  }
};

// A call's memory.
struct ScanCall {
  const ScanCase& c;
  Buffer<float> x, dt, A, B, C, D, dy, h, h_end, starts, y, dx, d_dt, dA, dB, dC, dD, carries, dt_sums;
  ScanInputs in;

  ScanCall(const ScanCase& arguments, std::int64_t segment)
      : ScanCall(arguments,
                 ScanInputs{arguments.sequences, arguments.time, arguments.channels, segment, {}, {}, {}, {}, {}, {}}) {
  }
  ScanCall(const ScanCase& arguments, const ScanInputs& sizes)
      : c(arguments),
        x(floats(c.x)),
        dt(floats(c.dt)),
        A(floats(c.A)),
        B(floats(c.B)),
        C(floats(c.C)),
        D(floats(c.D)),
        dy(floats(c.dy)),
        h(floats(c.h)),
        h_end(c.h.size()),
        starts(c.starts.size()),
        y(c.y.size()),
        dx(c.x.size()),
        d_dt(c.x.size()),
        dA(sizes.sequences * sizes.segments() * N * sizes.channels),
        dB(sizes.sequences * sizes.groups() * sizes.time * N),
        dC(sizes.sequences * sizes.groups() * sizes.time * N),
        dD(sizes.sequences * sizes.segments() * sizes.channels),
        carries(sizes.sequences * sizes.segments() * N * sizes.channels),
        dt_sums(sizes.sequences * sizes.segments() * sizes.channels),
        in(sizes) {
    in.x = x.data(), in.dt = dt.data(), in.A = A.data(), in.B = B.data(), in.C = C.data(), in.D = D.data();
  }
  ScanForward forward() {
    return {in, h.data(), h_end.data(), starts.data(), y.data(), {carries.data(), dt_sums.data()}};
  }
  ScanBackward backward() {
    return {in,        starts.data(), dy.data(), dx.data(), d_dt.data(),
            dA.data(), dD.data(),     dB.data(), dC.data(), {carries.data(), dt_sums.data()}};
  }
  // [R,inner,G,by] summed over R and G.
  static std::vector<double> summed(Buffer<float>& values, std::int64_t inner, std::int64_t groups, std::int64_t by) {
    std::vector<double> sums(inner * by, 0);
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(values.size()); ++i)
      sums[i / (groups * by) % inner * by + i % by] += values[i];
    return sums;
  }
  std::map<std::string, std::vector<double>> gradients() {
    return {{"x", in_double(dx)},
            {"dt", in_double(d_dt)},
            {"A", summed(dA, 1, 1, N * c.channels)},
            {"B", summed(dB, c.sequences, in.groups(), c.time * N)},
            {"C", summed(dC, c.sequences, in.groups(), c.time * N)},
            {"D", summed(dD, 1, 1, c.channels)}};
  }
};

void expect_loops_in_double(std::int64_t sequences, std::int64_t time, std::int64_t channels, std::int64_t segment) {
  SCOPED_TRACE(cat(sequences, " x ", time, " x ", channels, " in segments of ", segment));
  const ScanCase c(sequences, time, channels, /*with_state=*/false);
  ScanCall call(c, segment);
  launch(call.forward());
  EXPECT_LE(relative_error(in_double(call.y), c.y), kTolerance);
  EXPECT_LE(relative_error(in_double(call.starts), c.starts), kTolerance);
  EXPECT_LE(relative_error(in_double(call.h_end), c.h_end), kTolerance);
  launch(call.backward());
  const auto right = c.gradients();
  for (const auto& [name, gradient] : call.gradients())
    EXPECT_LE(relative_error(gradient, right.at(name)), 2 * kTolerance) << name;
}
// Few channels and more than a group of them, widths that are no vectors, one token, whole chunks and not.
TEST(CudaSelectiveScan, AgreesWithLoopsInDouble) {
  expect_loops_in_double(1, 1, 8, 1);
  expect_loops_in_double(1, 3, 5, 9);
  expect_loops_in_double(1, 17, 131, 1);
  expect_loops_in_double(2, 17, 132, 1);
  expect_loops_in_double(1, 32, 20, 9);
}
// Segments of one chunk, more of them than are read at a time, and of two.
TEST(CudaSelectiveScan, ScansSegmentsInParallel) {
  expect_loops_in_double(1, 130, 4, 1);
  expect_loops_in_double(1, 40, 20, 2);
  expect_loops_in_double(1, 50, 132, 2);
  expect_loops_in_double(1, 50, 131, 1);
}

// Decoding and prefilling: the state goes on from call to call, in place; with segments, too.
TEST(CudaSelectiveScan, GoesOnFromAState) {
  for (const auto& [time, segment] : {std::pair{1, 1}, {37, 1}, {37, 9}}) {
    SCOPED_TRACE(cat(time, " tokens in segments of ", segment));
    const ScanCase c(2, time, 12, /*with_state=*/true);
    ScanCall call(c, segment);
    ScanForward p = call.forward();
    p.h_end = call.h.data(), p.starts = nullptr;
    launch(p);
    EXPECT_LE(relative_error(in_double(call.y), c.y), kTolerance);
    EXPECT_LE(relative_error(in_double(call.h), c.h_end), kTolerance);
  }
}

// Without a first state it is zero, and the last one need not be wanted.
TEST(CudaSelectiveScan, BeginsWithZeros) {
  const ScanCase c(1, 20, 8, /*with_state=*/false);
  for (const int segment : {1, 2}) {
    ScanCall call(c, segment);
    ScanForward p = call.forward();
    p.h = nullptr, p.h_end = nullptr;
    launch(p);
    EXPECT_LE(relative_error(in_double(call.y), c.y), kTolerance);
  }
}

// Vectors are not read or written where they do not fit; B and C must be so aligned.
TEST(CudaSelectiveScan, TakesTensorsOfAnyAlignment) {
  const ScanCase c(1, 17, 8, /*with_state=*/false);
  ScanCall call(c, 1);
  ScanForward forward = call.forward();
  ScanBackward backward = call.backward();
  const auto run_forward = [&] { launch(forward); };
  const auto run_backward = [&] { launch(backward); };
  const std::int64_t values = 17 * 8, state = N * 8, segments = 2;
  start_with_each_moved(run_forward, values, 1, forward.in.x, forward.in.dt, forward.y);
  start_with_each_moved(run_forward, state, 1, forward.in.A, forward.h, forward.h_end);
  start_with_each_moved(run_forward, segments * state, 1, forward.starts, forward.work.carries);
  start_with_each_moved(run_forward, segments * 8, 1, forward.work.dt_sums);
  start_with_each_moved(run_backward, values, 1, backward.in.x, backward.in.dt, backward.dy, backward.dx,
                        backward.d_dt);
  start_with_each_moved(run_backward, segments * state, 1, backward.starts, backward.dA, backward.work.carries);
  start_with_each_moved(run_backward, segments * 8, 1, backward.dD, backward.work.dt_sums);
  EXPECT_LE(relative_error(in_double(call.y), c.y), kTolerance);
  const auto right = c.gradients();
  for (const auto& [name, gradient] : call.gradients())
    EXPECT_LE(relative_error(gradient, right.at(name)), 2 * kTolerance) << name;
  forward.in.B += 1;
  EXPECT_THROW(launch(forward), Error);
}

// Long memory (slow decay) and strong (fast): what is left of far tokens, and powers that underflow.
TEST(CudaSelectiveScan, DecaysOfAnySpeed) {
  for (const double speed : {1e-4, 300.0}) {
    ScanCase c(1, 50, 4, /*with_state=*/false);
    for (double& a : c.A) a = static_cast<float>(a * speed);
    c.scan();
    ScanCall call(c, 2);
    launch(call.forward());
    launch(call.backward());
    EXPECT_LE(relative_error(in_double(call.y), c.y), kTolerance) << speed;
    const auto right = c.gradients();
    for (const auto& [name, gradient] : call.gradients())
      EXPECT_LE(relative_error(gradient, right.at(name)), 2 * kTolerance) << name << " " << speed;
  }
}

// The order in which threads run between two meetings must not matter.
TEST(CudaSelectiveScan, HasNoRaces) {
  const ScanCase c(1, 33, 8, /*with_state=*/false);
  expect_no_races([&](LaneOrder order) {
    ScanCall call(c, 2);
    using Carry = ScanCarryBlock<1>;
    using CarryBack = ScanCarryBlock<-1>;
    const ScanForward forward = call.forward();
    const std::int64_t blocks = call.in.blocks(), carry_blocks = Carry::blocks(call.in);
    run<ScanForwardBlock<false, true>>(forward, blocks, order);
    run<Carry>(Carry::Arguments{call.in, forward.work, forward.h}, carry_blocks, order);
    run<ScanForwardBlock<true, true>>(forward, blocks, order);
    const ScanBackward backward = call.backward();
    run<ScanBackwardCarryBlock<true>>(backward, blocks, order);
    run<CarryBack>(CarryBack::Arguments{call.in, backward.work, nullptr}, carry_blocks, order);
    run<ScanBackwardBlock<true>>(backward, blocks, order);
    std::vector<double> all = in_double(call.y);
    for (const auto& [name, gradient] : call.gradients()) append(all, gradient);
    return all;
  });
}

// Enough blocks for a GPU, or one segment, of at least 64 tokens.
TEST(CudaSelectiveScan, SegmentsKeepAGpuBusy) {
  const auto blocks = [](std::int64_t sequences, std::int64_t time, std::int64_t channels) {
    const ScanInputs in{sequences, time, channels, scan_segment(sequences, time, channels), {}, {}, {}, {}, {}, {}};
    EXPECT_GE(in.segment, 1);
    return std::pair(in.segments(), in.blocks());
  };
  EXPECT_EQ(blocks(8, 2048, 2048).first, 1);
  EXPECT_EQ(blocks(1, 1, 1536), std::pair(std::int64_t{1}, std::int64_t{12}));
  EXPECT_EQ(blocks(1, 2048, 1536).first, 22);
  EXPECT_GE(blocks(2, 32768, 4096).second, 256);
}

}  // namespace
}  // namespace ttt::kernels::cuda
