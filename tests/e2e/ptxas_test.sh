#!/usr/bin/env bash
# The gates of the CUDA build. tools/check_ptxas.sh: a hot kernel that spills is named with its architecture, others pass.
# tools/check_sass.sh: so is a collective instruction under a predicate.
# Environment: TTT, the binary; SOURCE, the checkout. The working directory is an empty scratch folder.
. "$SOURCE/tests/e2e/check.sh"

# log KERNEL ARCH SPILLED: what nvcc prints of one kernel.
log() {
  printf "ptxas info    : Compiling entry function '%s' for '%s'\n" "$1" "$2"
  printf "ptxas info    : Function properties for %s\n    16 bytes stack frame, %s bytes spill stores, 16 bytes spill loads\n" "$1" "$3"
  printf "ptxas info    : Used 255 registers, used 1 barriers\n"
}
{ log _Z6kernelI12ForwardBlockItLi64ELi4EEEv sm_80 0; log _Z6kernelI13BackwardBlockIfLi64ELi4EEEv sm_80 128; } >clean.log
expect 0 "$SOURCE/tools/check_ptxas.sh" clean.log
{ cat clean.log; log _Z6kernelI13BackwardBlockItLi64ELi4EEEv sm_90a 4; } >spills.log
expect 1 "$SOURCE/tools/check_ptxas.sh" spills.log
says errors.txt '_Z6kernelI13BackwardBlockItLi64ELi4EEEv on sm_90a spills 4 bytes a thread (spills.log)'
[ "$(wc -l <errors.txt)" -eq 1 ] || die "more than one kernel is named"
log _Z6kernelI13BackwardBlockIfLi64ELi4EEEv sm_90a 132 >fp32.log
expect 1 "$SOURCE/tools/check_ptxas.sh" fp32.log
echo "nvcc warning: nothing" >empty.log
expect 1 "$SOURCE/tools/check_ptxas.sh" empty.log
says errors.txt 'no kernel in empty.log'

expect 1 "$SOURCE/tools/check_sass.sh" --text "$SOURCE/tests/ptx/predicated.sass"
says out.txt 'error: sm_80: `@!P3 HMMA.16816.F32.BF16 R12, R4, R8, R12` under a predicate, in kernel'
[ "$(grep -c '^error' out.txt)" -eq 1 ] || die "more than one instruction is named"
expect 1 "$SOURCE/tools/check_sass.sh" --text "$PWD/empty.log"
says out.txt 'no collective instruction at all'
echo ok
