// The forms of PTX instructions that the interpreter knows: those that nvcc emits for this project's kernels.
#pragma once

#include <string>
#include <unordered_map>

#include "ptx/program.h"

namespace ttt::ptx {

// operands: results, '=', sources, in the text's order. h, w, l: a register of 16, 32, 64 bits, or a source's constant;
// p: a predicate; V: one value or {a, b, ..} of registers as wide as `bytes` says; v: the same, of 32 bits each;
// S, G: [address] of 32 and of 64 bits; n: a number; L: a label; ?: w or w|p.
struct Form {
  Op op;
  const char* operands;
  int bytes = 0;  // of a value in memory
  bool collective = false;
};

inline const std::unordered_map<std::string, Form>& forms() {
  static const std::unordered_map<std::string, Form> all = [] {
    std::unordered_map<std::string, Form> f = {
        {"mul.wide.s32", {Op::kMulWideS32, "l=ww"}},
        {"mul.wide.u32", {Op::kMulWideU32, "l=ww"}},
        {"mul.hi.s32", {Op::kMulHiS32, "w=ww"}},
        {"mul.hi.u64", {Op::kMulHiU64, "l=ll"}},
        {"mad.lo.s32", {Op::kMad32, "w=www"}},
        {"div.u32", {Op::kDivU32, "w=ww"}},
        {"rem.u32", {Op::kRemU32, "w=ww"}},
        {"neg.s64", {Op::kNeg64, "l=l"}},
        {"shr.s32", {Op::kShrS32, "w=ww"}},
        {"shr.u32", {Op::kShrU32, "w=ww"}},
        {"shr.s64", {Op::kShrS64, "l=lw"}},
        {"shr.u64", {Op::kShrU64, "l=lw"}},
        {"shl.b32", {Op::kShl32, "w=ww"}},
        {"shl.b64", {Op::kShl64, "l=lw"}},
        {"and.b16", {Op::kAnd16, "h=hh"}},
        {"and.b32", {Op::kAnd32, "w=ww"}},
        {"and.b64", {Op::kAnd64, "l=ll"}},
        {"or.b32", {Op::kOr32, "w=ww"}},
        {"or.b64", {Op::kOr64, "l=ll"}},
        {"xor.b32", {Op::kXor32, "w=ww"}},
        {"not.b32", {Op::kNot32, "w=w"}},
        {"not.b64", {Op::kNot64, "l=l"}},
        {"mov.u16", {Op::kMove16, "h=h"}},
        {"selp.u16", {Op::kSelect32, "h=hhp"}},
        {"cvta.to.global.u64", {Op::kMove64, "l=l"}},
        {"cvt.s64.s32", {Op::kExtendS32, "l=w"}},
        {"cvt.u64.u32", {Op::kExtendU32, "l=w"}},
        {"cvt.u32.u64", {Op::kLow32, "w=l"}},
        {"cvt.u32.u16", {Op::kLow16, "w=h"}},
        {"fma.rn.f32", {Op::kFmaF32, "w=www"}},
        {"neg.f32", {Op::kNegF32, "w=w"}},
        {"div.rn.f32", {Op::kDivF32, "w=ww"}},
        {"rcp.rn.f32", {Op::kRcpF32, "w=w"}},
        {"sqrt.rn.f32", {Op::kSqrtF32, "w=w"}},
        {"rsqrt.approx.f32", {Op::kRsqrtF32, "w=w"}},
        {"ex2.approx.f32", {Op::kExp2F32, "w=w"}},
        {"ex2.approx.ftz.f32", {Op::kExp2FtzF32, "w=w"}},
        {"add.f32", {Op::kAddF32, "w=ww"}},
        {"sub.f32", {Op::kSubF32, "w=ww"}},
        {"mul.f32", {Op::kMulF32, "w=ww"}},
        {"add.f64", {Op::kAddF64, "l=ll"}},
        {"sub.f64", {Op::kSubF64, "l=ll"}},
        {"div.rn.f64", {Op::kDivF64, "l=ll"}},
        {"cvt.rn.f32.s32", {Op::kF32FromS32, "w=w"}},
        {"cvt.rn.f32.f64", {Op::kF32FromF64, "w=l"}},
        {"cvt.f64.f32", {Op::kF64FromF32, "l=w"}},
        {"cvt.rn.bf16x2.f32", {Op::kPackBf16, "w=ww"}},
        {"setp.eq.s16", {Op::kEq32, "p=hh"}},
        {"setp.ne.s16", {Op::kNe32, "p=hh"}},
        {"and.pred", {Op::kAndPred, "p=pp"}},
        {"or.pred", {Op::kOrPred, "p=pp"}},
        {"xor.pred", {Op::kXorPred, "p=pp"}},
        {"not.pred", {Op::kNotPred, "p=p"}},
        {"mov.pred", {Op::kMovePred, "p=p"}},
        {"prefetch.L2", {Op::kPrefetch, "=G"}},
        {"cp.async.cg.shared.global", {Op::kCopyAsync, "=SGnw"}},
        {"cp.async.commit_group", {Op::kCommitGroup, "="}},
        {"cp.async.wait_group", {Op::kWaitGroup, "=n"}},
        {"bra", {Op::kBranch, "=L"}},
        {"bra.uni", {Op::kBranch, "=L"}},
        {"ret", {Op::kReturn, "="}},
        {"bar.sync", {Op::kBarSync, "=n", 0, true}},
        {"bar.warp.sync", {Op::kBarWarpSync, "=w", 0, true}},
        {"shfl.sync.bfly.b32", {Op::kShuffleXor, "?=wwww", 0, true}},
        {"shfl.sync.idx.b32", {Op::kShuffleIndex, "?=wwww", 0, true}},
        {"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", {Op::kMma, "v=vvv", 0, true}},
        {"ldmatrix.sync.aligned.m8n8.x4.shared.b16", {Op::kLoadMatrix, "v=S", 0, true}},
        {"ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16", {Op::kLoadMatrixTransposed, "v=S", 0, true}},
        {"movmatrix.sync.aligned.m8n8.trans.b16", {Op::kMoveMatrix, "w=w", 0, true}},
    };
    const auto add = [&](const std::string& name, const Form& form) { f[name] = form; };
    // name.s32, name.s64
    const auto both = [&](const std::string& name, Op narrow, Op wide, const char* n = "w=ww", const char* w = "l=ll") {
      add(name + ".s32", {narrow, n}), add(name + ".s64", {wide, w});
    };
    both("add", Op::kAdd32, Op::kAdd64), both("sub", Op::kSub32, Op::kSub64);
    both("mul.lo", Op::kMul32, Op::kMul64), both("div", Op::kDivS32, Op::kDivS64);
    both("rem", Op::kRemS32, Op::kRemS64), both("min", Op::kMinS32, Op::kMinS64);
    both("max", Op::kMaxS32, Op::kMaxS64);
    for (const char* type : {"b32", "u32", "f32"}) add(std::string("mov.") + type, {Op::kMove32, "w=w"});
    for (const char* type : {"b64", "u64", "f64"}) add(std::string("mov.") + type, {Op::kMove64, "l=l"});
    for (const char* type : {"b32", "f32"}) add(std::string("selp.") + type, {Op::kSelect32, "w=wwp"});
    for (const char* type : {"b64", "f64"}) add(std::string("selp.") + type, {Op::kSelect64, "l=llp"});
    const auto compare = [&](const char* type, const char* operands, std::initializer_list<Op> ops) {
      const char* names[] = {"eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu"};
      int i = 0;
      for (const Op op : ops) add(std::string("setp.") + names[i++] + "." + type, {op, operands});
    };
    compare("s32", "p=ww", {Op::kEq32, Op::kNe32, Op::kLtS32, Op::kLeS32, Op::kGtS32, Op::kGeS32});
    compare("u32", "p=ww", {Op::kEq32, Op::kNe32, Op::kLtU32, Op::kLeU32, Op::kGtU32, Op::kGeU32});
    compare("b32", "p=ww", {Op::kEq32, Op::kNe32});
    compare("s64", "p=ll", {Op::kEq64, Op::kNe64, Op::kLtS64, Op::kLeS64, Op::kGtS64, Op::kGeS64});
    compare("u64", "p=ll", {Op::kEq64, Op::kNe64, Op::kLtU64, Op::kLeU64, Op::kGtU64, Op::kGeU64});
    compare("f32", "p=ww",
            {Op::kEqF32, Op::kNeF32, Op::kLtF32, Op::kLeF32, Op::kGtF32, Op::kGeF32, Op::kEquF32, Op::kNeuF32,
             Op::kLtuF32, Op::kLeuF32, Op::kGtuF32, Op::kGeuF32});
    compare("f64", "p=ll",
            {Op::kEqF64, Op::kNeF64, Op::kLtF64, Op::kLeF64, Op::kGtF64, Op::kGeF64, Op::kEquF64, Op::kNeuF64,
             Op::kLtuF64, Op::kLeuF64, Op::kGtuF64, Op::kGeuF64});
    // Loads and stores; without a space they are generic, which only global memory is here.
    struct Type {
      const char* name;
      int bytes;
    };
    for (const Type& t : {Type{"u8", 1}, {"u16", 2}, {"u32", 4}, {"s32", 4}, {"f32", 4}, {"u64", 8}, {"f64", 8}}) {
      const std::string type = t.name;
      for (const char* vector : {".", ".v2.", ".v4."}) {
        if (t.bytes < 4 && vector[1] != 0) continue;
        add("ld.param" + (vector + type), {Op::kLoadParam, "V=G", t.bytes});
        if (t.bytes == 1) continue;
        for (const char* space : {"", ".global"}) {
          add(std::string("ld") + space + vector + type, {Op::kLoadGlobal, "V=G", t.bytes});
          add(std::string("st") + space + vector + type, {Op::kStoreGlobal, "=GV", t.bytes});
        }
        if (t.bytes == 2) continue;
        add("ld.shared" + (vector + type), {Op::kLoadShared, "V=S", t.bytes});
        add("st.shared" + (vector + type), {Op::kStoreShared, "=SV", t.bytes});
      }
    }
    return f;
  }();
  return all;
}

}  // namespace ttt::ptx
