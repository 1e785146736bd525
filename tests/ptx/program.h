// PTX as text, and a kernel of it in the compact form that machine.h runs. Names: PTX ISA.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace ttt::ptx {

inline constexpr int kLanes = 32;
using Mask = std::uint32_t;  // a bit for each lane of a warp
inline constexpr Mask kAllLanes = 0xffffffffu;

// What a kernel does wrong, or what the interpreter cannot do, with the instruction's text.
class Problem : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

enum class Op : std::uint16_t {
  // one value of each lane from others
  kAdd32,
  kAdd64,
  kSub32,
  kSub64,
  kMul32,
  kMul64,
  kMulHiS32,
  kMulHiU64,
  kMulWideS32,
  kMulWideU32,
  kMad32,
  kDivS32,
  kDivU32,
  kDivS64,
  kRemS32,
  kRemU32,
  kRemS64,
  kMinS32,
  kMaxS32,
  kMinS64,
  kMaxS64,
  kNeg64,
  kShl32,
  kShl64,
  kShrS32,
  kShrU32,
  kShrS64,
  kShrU64,
  kAnd16,
  kAnd32,
  kAnd64,
  kOr32,
  kOr64,
  kXor32,
  kNot32,
  kNot64,
  kMove16,
  kMove32,
  kMove64,
  kSelect32,
  kSelect64,
  kExtendS32,
  kExtendU32,
  kLow32,
  kLow16,
  kExtendLowS32,
  kAddF32,
  kSubF32,
  kMulF32,
  kFmaF32,
  kNegF32,
  kDivF32,
  kRcpF32,
  kSqrtF32,
  kRsqrtF32,
  kExp2F32,
  kExp2FtzF32,
  kAddF64,
  kDivF64,
  kSubF64,
  kF32FromS32,
  kF32FromF64,
  kF64FromF32,
  kPackBf16,
  // predicates
  kEq32,
  kNe32,
  kLtS32,
  kLeS32,
  kGtS32,
  kGeS32,
  kLtU32,
  kLeU32,
  kGtU32,
  kGeU32,
  kEq64,
  kNe64,
  kLtS64,
  kLeS64,
  kGtS64,
  kGeS64,
  kLtU64,
  kLeU64,
  kGtU64,
  kGeU64,
  kEqF32,
  kNeF32,
  kLtF32,
  kLeF32,
  kGtF32,
  kGeF32,
  kEquF32,
  kNeuF32,
  kLtuF32,
  kLeuF32,
  kGtuF32,
  kGeuF32,
  kEqF64,
  kNeF64,
  kLtF64,
  kLeF64,
  kGtF64,
  kGeF64,
  kEquF64,
  kNeuF64,
  kLtuF64,
  kLeuF64,
  kGtuF64,
  kGeuF64,
  kAndPred,
  kOrPred,
  kXorPred,
  kNotPred,
  kMovePred,
  // memory
  kLoadParam,
  kLoadGlobal,
  kLoadShared,
  kStoreGlobal,
  kStoreShared,
  kPrefetch,
  kCopyAsync,
  kCommitGroup,
  kWaitGroup,
  // where to go on
  kBranch,
  kReturn,
  // all lanes together
  kBarSync,
  kBarWarpSync,
  kShuffleXor,
  kShuffleIndex,
  kMma,
  kLoadMatrix,
  kLoadMatrixTransposed,
  kMoveMatrix,
};

// The registers of a warp are slots of 32 x 4 bytes; one of 64 bits has two in a row, and a predicate a mask in the
// first word of its own. Constants are registers that nobody writes.
struct Instruction {
  Op op;
  bool guarded = false, guard_negated = false;
  std::uint8_t results = 0, sources = 0;   // in `slots`, results first, in the text's order
  std::uint8_t bytes = 0;                  // of one value in memory
  std::uint8_t values = 1;                 // of a lane, in memory
  bool wide = false, sign_extend = false;  // registers of values in memory have 64 bits; how a load widens
  bool collective = false;                 // wants all lanes
  std::uint32_t guard = 0;                 // slot
  std::uint32_t used_bytes = ~0u;          // of a load: what nobody reads later may be anything (.pragma)
  std::uint32_t target = 0;                // instruction
  std::uint32_t line = 0;                  // of the kernel's text
  std::int64_t number = 0;                 // added to the first address; of groups
  std::int64_t number2 = 0;                // added to the second address
  std::array<std::uint32_t, 14> slots{};

  // Of a load: whether its i-th value is used.
  bool uses(int i) const { return bytes == 0 || (used_bytes >> i * bytes & ((1u << bytes) - 1)) != 0; }
};

// Slots that the launch fills.
enum : std::uint32_t { kThreadSlot, kBlockSlot, kBlocksSlot, kFirstSlot };

struct Constant {
  std::uint32_t slot;
  std::uint64_t value;
  bool wide;
};

struct Kernel {
  std::string name;  // mangled
  std::vector<Instruction> code;
  std::vector<Constant> constants;
  std::uint32_t slots = 0;
  std::uint32_t param_bytes = 0;
  int max_threads = 0;
  std::vector<std::string> text;  // by line
  std::string text_of(const Instruction& in) const { return text[in.line]; }
};

// Where parameters, and dynamic shared memory, begin in their own address spaces.
inline constexpr std::uint64_t kParamBase = std::uint64_t{1} << 60;
inline constexpr std::uint32_t kSharedBase = 1024;

// Where each .entry of a module's text is: mangled name -> the text from its name to its closing brace.
std::map<std::string, std::string_view> entries_of(std::string_view module);

// Throws Problem for what it does not know, naming opcode and form.
Kernel parse_kernel(const std::string& name, std::string_view text);

}  // namespace ttt::ptx
