// The PTX interpreter on small programs: what instructions give, and what it finds wrong.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <numeric>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "ptx/machine.h"

namespace ttt::ptx {
namespace {

// Global memory of a program, at the address that is its only parameter.
struct Memory {
  std::vector<std::uint32_t> words;
  explicit Memory(std::size_t n, std::uint32_t value = 0) : words(n, value) {
    global_memory().add(words.data(), 4 * n, 4);
  }
  Memory(const Memory&) = delete;
  ~Memory() { global_memory().remove(words.data()); }
};

// %rd0: the memory's address; %r0: the thread; %r1: the block; %rd1: the address of the thread's word.
const char* const kProlog = R"(
.param .align 8 .b8 P[8]
)
.maxntid 1024, 1, 1
{
.reg .pred %p<8>;
.reg .b16 %rs<8>;
.reg .b32 %r<40>;
.reg .f32 %f<40>;
.reg .b64 %rd<16>;
.reg .f64 %fd<8>;
ld.param.u64 %rd0, [P];
mov.u32 %r0, %tid.x;
mov.u32 %r1, %ctaid.x;
mul.wide.s32 %rd1, %r0, 4;
add.s64 %rd1, %rd0, %rd1;
)";

Counts run(const std::string& body, Memory& memory, int threads = 32, int blocks = 1,
           WarpOrder order = WarpOrder::kForward) {
  const Kernel kernel = parse_kernel("k", kProlog + body + "\nret;\n");
  const void* const params[1] = {memory.words.data()};
  std::vector<char> executed;
  return Machine(kernel, {blocks, threads, 4096, order}, params, executed).run();
}
// What goes wrong with a program, in every order of its warps.
std::string problem_of(const std::string& body, int threads = 32, int blocks = 1) {
  std::string what;
  for (const WarpOrder order : {WarpOrder::kForward, WarpOrder::kBackward, WarpOrder::kShuffled}) {
    Memory memory(256);
    try {
      run(body, memory, threads, blocks, order);
      what += "nothing; ";
    } catch (const Problem& problem) {
      what += cat(problem.what(), "; ");
    }
  }
  return what;
}
void expect_problem(const std::string& words, const std::string& body, int threads = 32, int blocks = 1) {
  const std::string what = problem_of(body, threads, blocks);
  EXPECT_NE(what.find(words), std::string::npos) << body << "\n" << what;
  EXPECT_EQ(what.find("nothing; "), std::string::npos) << body;
}
void expect_none(const std::string& body, int threads = 32, int blocks = 1) {
  EXPECT_EQ(problem_of(body, threads, blocks), "nothing; nothing; nothing; ") << body;
}
// The first thread's %r2 after the body.
std::uint32_t result_of(const std::string& body) {
  Memory memory(32);
  run(body + "\nst.global.u32 [%rd1], %r2;", memory);
  return memory.words[0];
}
std::uint32_t bits(float x) {
  return std::bit_cast<std::uint32_t>(x);
}

// st.shared of the thread's number at its place; %r2: that place; %r3: the one of thread + `by`.
std::string stored(int by) {
  return cat(
      "mov.u32 %r4, _Zshared;\nshl.b32 %r3, %r0, 2;\nadd.s32 %r2, %r4, %r3;\nst.shared.u32 [%r2], %r0;\nadd.s32 %r3, "
      "%r2, ",
      4 * by, ";\n");
}

TEST(Ptx, NamesWhatItDoesNotKnow) {
  expect_problem("the form popc.b32", "popc.b32 %r2, %r0;");
  expect_problem("the form add.sat.s32", "add.sat.s32 %r2, %r0, 1;");
  expect_problem("the register %r99", "mov.u32 %r99, 1;");
  expect_problem("this line", ".shared .b32 x[4]");
  expect_problem("the register %laneid", "mov.u32 %r2, %laneid;");
}

TEST(Ptx, ComputesAsTheIsaSays) {
  EXPECT_EQ(result_of("mov.u32 %r3, 32;\nmov.u32 %r4, 5;\nshl.b32 %r2, %r4, %r3;"), 0u);  // shifts are clamped
  EXPECT_EQ(result_of("mov.u32 %r4, -5;\nshr.s32 %r2, %r4, 40;"), 0xffffffffu);
  EXPECT_EQ(result_of("mov.u32 %r4, -5;\nshr.u32 %r2, %r4, 40;"), 0u);
  EXPECT_EQ(result_of("mov.u32 %r4, -3;\nmul.hi.s32 %r2, %r4, 1431655766;"), 0xfffffffeu);
  EXPECT_EQ(result_of("mov.u32 %r4, -7;\ndiv.s32 %r2, %r4, 2;"), static_cast<std::uint32_t>(-3));
  EXPECT_EQ(
      result_of("mov.u64 %rd2, 4294967295;\ncvt.s64.s32 %rd3, %rd2;\nshr.u64 %rd3, %rd3, 32;\ncvt.u32.u64 %r2, %rd3;"),
      0xffffffffu);
  EXPECT_EQ(result_of("mov.u64 %rd2, -1;\nmul.hi.u64 %rd3, %rd2, %rd2;\ncvt.u32.u64 %r2, %rd3;"), 0xfffffffeu);
  EXPECT_EQ(result_of("mov.f32 %f1, 0f3F800000;\nmov.f32 %f2, 0f40490000;\ncvt.rn.bf16x2.f32 %r2, %f1, %f2;"),
            0x3f804049u);  // the first in the upper half
  EXPECT_EQ(
      result_of(
          "mov.b32 %r3, 1065385984;\nmov.b32 %f1, %r3;\nmov.f32 %f2, 0f3F808000;\ncvt.rn.bf16x2.f32 %r2, %f1, %f2;"),
      0x3f803f80u);  // 1.00390625 is in the middle: to even; 0x3f808000 likewise
  EXPECT_EQ(result_of("mov.f32 %f1, 0fC3000000;\nex2.approx.ftz.f32 %f2, %f1;\nmov.b32 %r2, %f2;"), 0u);
  EXPECT_EQ(result_of("mov.f32 %f1, 0f40400000;\nex2.approx.f32 %f2, %f1;\nmov.b32 %r2, %f2;"), bits(8));
  EXPECT_EQ(
      result_of(
          "mov.f32 %f1, 0f3F800001;\nmov.f32 %f2, 0fBF800002;\nfma.rn.f32 %f3, %f1, %f1, %f2;\nmov.b32 %r2, %f3;"),
      bits(0x1p-46f));  // one rounding
  // Comparisons with NaN.
  for (const auto& [type, x, number] : {std::tuple{"f32", "%f1", "0f7FC00000"}, {"f64", "%fd1", "0d7FF8000000000000"}})
    for (const auto& [compare, right] : {std::pair{"lt", 0u}, {"leu", 1u}, {"neu", 1u}, {"ne", 0u}, {"eq", 0u}})
      EXPECT_EQ(result_of(cat("mov.", type, " ", x, ", ", number, ";\nsetp.", compare, ".", type, " %p1, ", x, ", ", x,
                              ";\nselp.b32 %r2, 1, 0, %p1;")),
                right)
          << compare << " " << type;
}

TEST(Ptx, LanesPartAndMeetAgain) {
  // Each lane counts to its number, those above 15 from another place; then all lanes shuffle.
  Memory memory(32);
  const Counts counts = run(R"(
setp.gt.s32 %p1, %r0, 15;
mov.u32 %r2, 0;
@%p1 bra $far;
$loop:
setp.ge.s32 %p2, %r2, %r0;
@%p2 bra $end;
add.s32 %r2, %r2, 1;
bra.uni $loop;
$end:
mov.u32 %r5, 1;
mov.u32 %r6, 31;
mov.u32 %r7, -1;
shfl.sync.bfly.b32 %r3|%p3, %r2, %r5, %r6, %r7;
st.global.u32 [%rd1], %r3;
ret;
$far:
mov.u32 %r2, 100;
bra.uni $loop;)",
                            memory);
  for (std::uint32_t i = 0; i < 32; ++i) EXPECT_EQ(memory.words[i], i < 16 ? i ^ 1 : 100u) << i;
  EXPECT_LT(counts.instructions, 200);  // together where they can be
}

TEST(Ptx, ShufflesFromLanesInRange) {
  for (const auto& [form, b, right] : {std::tuple{"idx", 5, 5u}, {"bfly", 3, 3u}, {"idx", 37, 5u}})
    EXPECT_EQ(result_of(cat("mov.u32 %r5, ", b, ";\nmov.u32 %r6, 31;\nmov.u32 %r7, -1;\nshfl.sync.", form,
                            ".b32 %r2|%p1, %r0, %r5, %r6, %r7;")),
              right);
  // Segments of 8 lanes (c = 0x1807): lane 1 of the own segment; none beyond the clamp.
  EXPECT_EQ(
      result_of(
          "mov.u32 %r5, 9;\nmov.u32 %r6, 6151;\nmov.u32 %r7, -1;\nshfl.sync.idx.b32 %r2|%p1, %r0, %r5, %r6, %r7;"),
      1u);
  EXPECT_EQ(result_of("mov.u32 %r5, 4;\nmov.u32 %r6, 3;\nmov.u32 %r7, -1;\nshfl.sync.idx.b32 %r3|%p1, %r0, %r5, %r6, "
                      "%r7;\nselp.b32 %r2, 1, 0, %p1;"),
            0u);
}

// Places in the PTX ISA's figures: lane 5 is in group 1, second of it.
TEST(Ptx, FragmentsLieAsTheIsaSays) {
  const auto product = [](const std::string& a, const std::string& b) {
    std::string body = "setp.eq.s32 %p1, %r0, 5;\n";
    for (int i = 10; i < 16; ++i) body += cat("mov.u32 %r", i, ", 0;\n");
    for (int i = 1; i <= 4; ++i) body += cat("mov.f32 %f", i, ", 0f00000000;\n");
    body += cat("selp.b32 ", a, ", 16256, 0, %p1;\nselp.b32 ", b, ", 16256, 0, %p1;\n");  // 1 in the lower half
    body +=
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f5,%f6,%f7,%f8}, {%r10,%r11,%r12,%r13}, {%r14,%r15}, "
        "{%f1,%f2,%f3,%f4};\n";
    for (int i = 0; i < 4; ++i) body += cat("st.global.f32 [%rd1+", 128 * i, "], %f", 5 + i, ";\n");
    Memory memory(128);
    run(body, memory);
    std::vector<int> ones;  // 32 register + lane
    for (int i = 0; i < 128; ++i)
      if (memory.words[i] == bits(1)) ones.push_back(i);
    return ones;
  };
  // A (1, 2), (9, 2), (1, 10), (9, 10); B (2, 1), (10, 1). C (1, 1): lane 4's second; (9, 1): its fourth.
  using Ones = std::vector<int>;
  EXPECT_EQ(product("%r10", "%r14"), Ones{32 + 4});
  EXPECT_EQ(product("%r11", "%r14"), Ones{3 * 32 + 4});
  EXPECT_EQ(product("%r12", "%r14"), Ones{});
  EXPECT_EQ(product("%r12", "%r15"), Ones{32 + 4});
  EXPECT_EQ(product("%r13", "%r15"), Ones{3 * 32 + 4});
  // Row 1, columns 2 and 3 of lane 5 become column 1 of rows 2 and 3: upper halves of lanes 8 and 12.
  Memory moved(32);
  run("setp.eq.s32 %p1, %r0, 5;\nselp.b32 %r2, 458757, 0, %p1;\nmovmatrix.sync.aligned.m8n8.trans.b16 %r3, "
      "%r2;\nst.global.u32 [%rd1], %r3;",
      moved);
  for (std::uint32_t i = 0; i < 32; ++i) EXPECT_EQ(moved.words[i], i == 8 ? 5u << 16 : i == 12 ? 7u << 16 : 0u) << i;
}

TEST(Ptx, LoadsMatricesByTheirRowsAddresses) {
  for (const bool transposed : {false, true}) {
    Memory memory(128);
    // Row r of matrix m: at 16 (8 m + r); every word its place.
    std::string body = "mov.u32 %r4, _Zshared;\nshl.b32 %r5, %r0, 4;\nadd.s32 %r5, %r4, %r5;\nshl.b32 %r6, %r0, 2;\n";
    for (int i = 0; i < 4; ++i) body += cat("add.s32 %r7, %r6, ", i, ";\nst.shared.u32 [%r5+", 4 * i, "], %r7;\n");
    body += "bar.warp.sync -1;\nldmatrix.sync.aligned.m8n8.x4." + std::string(transposed ? "trans." : "") +
            "shared.b16 {%r10,%r11,%r12,%r13}, [%r5];\n";
    for (int i = 0; i < 4; ++i) body += cat("st.global.u32 [%rd1+", 128 * i, "], %r", 10 + i, ";\n");
    EXPECT_EQ(run(body, memory).bank_conflicts, 0);
    for (std::uint32_t m = 0; m < 4; ++m)
      for (std::uint32_t lane = 0; lane < 32; ++lane) {
        const auto element = [&](std::uint32_t r, std::uint32_t c) { return c % 2 == 1 ? 0 : 32 * m + 4 * r + c / 2; };
        const std::uint32_t r = lane / 4, c = 2 * (lane % 4);
        EXPECT_EQ(memory.words[32 * m + lane],
                  transposed ? element(c, r) | element(c + 1, r) << 16 : element(r, c) | element(r, c + 1) << 16);
      }
  }
}

TEST(Ptx, FindsWhatNobodyHasSet) {
  expect_problem("reads a register that nobody has set", "add.s32 %r2, %r9, 1;");
  expect_problem("thread 7 at", "setp.ne.s32 %p1, %r0, 7;\n@%p1 mov.u32 %r2, 1;\nadd.s32 %r3, %r2, 1;");
  expect_problem("reads a register", "@%p1 bra $x;\n$x:");
  expect_problem("that nobody has set", "mov.u32 %r4, _Zshared;\nld.shared.u32 %r2, [%r4];");
  // Of a vector some values may be declared unused: those are not read, and must not be used.
  const std::string half =
      "mov.u32 %r4, _Zshared;\nsetp.eq.s32 %p1, %r0, 0;\n@%p1 st.shared.u32 [%r4], %r0;\nbar.sync 0;\n"
      ".pragma \"used_bytes_mask 15\";\nld.shared.v2.u32 {%r2, %r3}, [%r4];\n";
  expect_none(half + "st.global.u32 [%rd1], %r2;");
  expect_problem("reads a register", half + "st.global.u32 [%rd1], %r3;");
}

TEST(Ptx, KnowsBoundsAndAlignment) {
  expect_problem("in no allocation", "ld.global.u32 %r2, [%rd1+-4];");
  expect_problem("writes 4 bytes that are in no allocation", "st.global.u32 [%rd1+1024], %r0;");
  expect_problem("aligned to 8", "ld.global.v2.u32 {%r2, %r3}, [%rd1];");
  expect_problem("at 4096 of 4096 bytes of shared", "mov.u32 %r4, _Zshared;\nst.shared.u32 [%r4+4096], %r0;");
  expect_problem("at -4 of 4096", "mov.u32 %r4, _Zshared;\nst.shared.u32 [%r4+-4], %r0;");
  expect_problem("not aligned to 16",
                 "mov.u32 %r2, _Zshared;\nmov.u32 %r5, 16;\ncp.async.cg.shared.global [%r2+8], [%rd0], 16, %r5;");
  expect_problem("reads parameters at 8 of 8", "ld.param.u32 %r2, [P+8];");
  expect_problem("divides by zero", "mov.u32 %r2, 0;\ndiv.s32 %r3, %r0, %r2;");
}

TEST(Ptx, FindsConflicts) {
  const std::string read = "ld.shared.u32 %r5, [%r3];", overwrite = "st.shared.u32 [%r3], %r0;";
  // Of the next lane, and of the next warp's.
  expect_problem("conflicts in shared memory with thread",
                 "setp.eq.s32 %p1, %r0, 31;\n" + stored(1) + "@%p1 bra $end;\n" + read + "\n$end:");
  expect_none("setp.eq.s32 %p1, %r0, 31;\n" + stored(1) + "bar.warp.sync -1;\n@%p1 bra $end;\n" + read + "\n$end:");
  const std::string far = "setp.gt.s32 %p1, %r0, 31;\n" + stored(32);
  expect_problem("shared memory", far + "bar.warp.sync -1;\n@%p1 bra $end;\n" + read + "\n$end:", 64);
  expect_none(far + "bar.sync 0;\n@%p1 bra $end;\n" + read + "\n$end:", 64);
  // Overwriting what others have read, or written.
  expect_problem("conflicts in shared",
                 far + "bar.sync 0;\n@%p1 bra $end;\n" + read + "\n$end:\nst.shared.u32 [%r2], %r0;", 64);
  expect_problem("which wrote there", far + "@%p1 bra $end;\n" + overwrite + "\n$end:", 64);
  // A shuffle orders nothing.
  expect_problem("conflicts in shared", "setp.eq.s32 %p1, %r0, 31;\n" + stored(1) +
                                            "mov.u32 %r5, 1;\nmov.u32 %r6, 31;\nmov.u32 %r7, -1;\nshfl.sync.bfly.b32 "
                                            "%r8|%p2, %r0, %r5, %r6, %r7;\n@%p1 bra $end;\n" +
                                            read + "\n$end:");
  // In global memory, and between blocks.
  expect_problem("conflicts in global memory with thread 0, which wrote", "st.global.u32 [%rd0], %r0;");
  expect_problem("of another block, which wrote there", "st.global.u32 [%rd1], %r0;", 32, 2);
  expect_problem(
      "of another block, which read there",
      "ld.global.u32 %r2, [%rd1];\nsetp.eq.s32 %p1, %r1, 0;\n@%p1 bra $end;\nst.global.u32 [%rd1], %r2;\n$end:", 32, 2);
  expect_none(
      "ld.global.u32 %r2, [%rd0];\nbar.sync 0;\nsetp.ne.s32 %p1, %r0, 0;\n@%p1 bra $end;\nst.global.u32 [%rd0], "
      "%r2;\n$end:",
      64);
}

TEST(Ptx, AsynchronousCopiesArriveWhereTheyAreWaitedFor) {
  // Every thread copies 16 bytes to its place, %r2; %r3: the next thread's, of the next warp where there is one.
  const std::string copy =
      "mov.u32 %r4, _Zshared;\nshl.b32 %r3, %r0, 4;\nadd.s32 %r2, %r4, %r3;\nmov.u32 %r5, 16;\n"
      "cp.async.cg.shared.global [%r2], [%rd0], 16, %r5;\nadd.s32 %r3, %r2, 16;\nsetp.eq.s32 %p1, %r0, 31;\n";
  const std::string own = "ld.shared.u32 %r6, [%r2];", other = "@%p1 bra $end;\nld.shared.u32 %r6, [%r3];\n$end:";
  expect_problem("may not have filled yet", copy + own);
  expect_problem("may not have filled yet", copy + "cp.async.wait_group 0;\n" + own);  // of no group yet
  expect_problem("may not have filled yet", copy + "cp.async.commit_group;\ncp.async.wait_group 1;\n" + own);
  expect_none(copy + "cp.async.commit_group;\ncp.async.wait_group 0;\n" + own);
  expect_problem("conflicts in shared", copy + "cp.async.commit_group;\ncp.async.wait_group 0;\n" + other);
  expect_none(copy + "cp.async.commit_group;\ncp.async.wait_group 0;\nbar.warp.sync -1;\n" + other);
  expect_none(copy + "cp.async.commit_group;\ncp.async.commit_group;\ncp.async.wait_group 1;\n" + own);
  expect_problem("still to fill", copy + "st.shared.u32 [%r2], %r0;");
  // Nothing is read where there is nothing to copy: zeros.
  EXPECT_EQ(
      result_of(
          "mov.u32 %r4, _Zshared;\nshl.b32 %r3, %r0, 4;\nadd.s32 %r3, %r4, %r3;\nmov.u32 %r5, 0;\nmov.u64 %rd5, 0;\n"
          "cp.async.cg.shared.global [%r3], [%rd5], 16, %r5;\ncp.async.commit_group;\ncp.async.wait_group "
          "0;\nld.shared.u32 %r2, [%r3];"),
      0u);
}

TEST(Ptx, FindsLanesThatWaitInVain) {
  expect_problem("lanes 1 2 3", "setp.eq.s32 %p1, %r0, 0;\n@%p1 bra $end;\nbar.warp.sync -1;\n$end:");
  expect_problem(
      "wait for each other in vain",
      "setp.eq.s32 %p1, %r0, 0;\n@%p1 bra $other;\nbar.warp.sync -1;\nbra.uni $end;\n$other:\nbar.sync 0;\n$end:");
  expect_problem("has ended while others wait", "setp.gt.s32 %p1, %r0, 31;\n@%p1 bra $end;\nbar.sync 0;\n$end:", 64);
  expect_problem("under a predicate", "setp.eq.s32 %p1, %r0, 0;\n@%p1 bar.warp.sync -1;");
  expect_problem("a mask without some lanes", "bar.warp.sync 1;");
}

}  // namespace
}  // namespace ttt::ptx
