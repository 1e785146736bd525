#!/usr/bin/env bash
# From nothing to a trained TTT-Linear language model: set up, build, train a tokenizer, prepare data, train, sample.
#
# usage: tools/quickstart.sh [--data-only] [TEXT ...]
#   TEXT         your own UTF-8 text files or folders; default: the C++ headers that come with LibTorch
#   --data-only  stop when tokenizer and data are there (what `ttt sweep configs/sweep/mini_scaling.yaml` needs)
# A second call with the same arguments continues where the first one stopped.
# environment: RUN_DIR=DIR   where everything of this run goes (default runs/quickstart, or runs/quickstart-HASH for your own text)
#              STEPS=N       training steps instead of configs/run/quickstart.yaml's
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
data_only=
case "${1:-}" in
  -h|--help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
  --data-only) data_only=yes; shift ;;
  -*) echo "error: unknown option '$1'; usage: tools/quickstart.sh [--data-only] [TEXT ...]" >&2; exit 2 ;;
esac
texts=()
for text in "$@"; do
  [ -e "$text" ] || { echo "error: no such file or folder: '$text'" >&2; exit 2; }
  texts+=("$(realpath "$text")")
done
cd "$here"

if [ ${#texts[@]} = 0 ]; then name=quickstart; else name=quickstart-$(printf '%s\n' "${texts[@]}" | cksum | cut -d' ' -f1); fi
run=${RUN_DIR:-runs/$name}
again=$(printf ' %q' "$@"); [ $# -gt 0 ] || again=
say() { printf '\n== %s\n' "$*"; }

cat <<EOF
ttt.cpp quickstart
  disk   1.5 GB for LibTorch (2.5 GB while it is unpacked) in ${TTT_CACHE:-~/.cache/ttt.cpp}, 0.5 GB for packages, 0.7 GB here
  time   on two CPU cores: about 2 minutes of downloads and 4 to 8 minutes of building (once), half a minute for tokenizer and data, 8 to 20 minutes of
         training, by the processor; its progress line says how long it still takes
  memory 4 GB
  Stop it at any time (Ctrl-C) and call it again: it goes on from there.
EOF

say "1/5 set-up and build"
# What runs on GPUs takes longer to build than all the rest.
if [ -z "${TTT_CUDA:-}" ] && [ ! -e build/CMakeCache.txt ] && [ ! -e /proc/driver/nvidia/version ] && ! nvidia-smi -L >/dev/null 2>&1; then
  echo "no GPU here: building for the CPU alone (TTT_CUDA=AUTO tools/build.sh builds for both where there is a CUDA toolkit)"
  export TTT_CUDA=OFF
fi
tools/setup.sh
tools/build.sh ttt_main
ttt=build/ttt

options=()
if [ ${#texts[@]} = 0 ]; then
  texts=("${LIBTORCH:-${TTT_CACHE:-$HOME/.cache/ttt.cpp}/libtorch-2.11.0/torch}/include")
  options=(--extension .h .hpp .cuh)
  prompt=$'#pragma once\n\n#include <ATen/'
else
  prompt=""
fi
mkdir -p "$run"

say "2/5 tokenizer"
vocab=4096
bytes=$(find "${texts[@]}" -type f -printf '%s\n' | awk '{sum += $1} END {printf "%.0f", sum}')
if [ "$bytes" -lt 400000 ]; then vocab=512; elif [ "$bytes" -lt 3000000 ]; then vocab=2048; fi
if [ -e "$run/tokenizer.model" ]; then
  echo "reusing $run/tokenizer.model"
else
  "$ttt" tokenizer train --input "${texts[@]}" "${options[@]}" --output "$run/tokenizer.model" --vocab-size $vocab
fi

say "3/5 data"
if [ -e "$run/tokens/train/manifest.json" ] && [ -e "$run/tokens/valid/manifest.json" ]; then
  echo "reusing $run/tokens"
else
  "$ttt" prepare --tokenizer "$run/tokenizer.model" --input "${texts[@]}" "${options[@]}" --output "$run/tokens" --valid-fraction 0.02 --force
fi

if [ -n "$data_only" ]; then
  printf 'the data are in %s/tokens, the tokenizer is %s/tokenizer.model\n' "$run" "$run"
  exit 0
fi

echo
echo "what n-gram models of the same tokens reach on the validation text (bits per byte, lower is better):"
"$ttt" baseline --train "$run/tokens/train" --valid "$run/tokens/valid" --context 512 | tee "$run/baseline.txt"

say "4/5 training"
overrides=(data.train="$run/tokens/train" data.valid="$run/tokens/valid" output_dir="$run/model" model.vocab_size=$vocab)
[ -z "${STEPS:-}" ] || overrides+=(train.steps="$STEPS")
echo "  ttt train configs/run/quickstart.yaml ${overrides[*]}"
status=0
"$ttt" train configs/run/quickstart.yaml "${overrides[@]}" || status=$?
if [ $status = 75 ]; then echo "stopped and saved; call tools/quickstart.sh again to go on"; exit 75; fi
[ $status = 0 ] || exit $status

say "5/5 results"
echo "n-gram models on the whole validation text:"
cat "$run/baseline.txt"
echo "this model on the same targets:"
"$ttt" eval --checkpoint "$run/model" --data "$run/tokens/valid" --context 512 --batch 8

printf '\na sample (temperature 0.8):\n----------------------------------------------------------------\n%s' "$prompt"
"$ttt" generate --checkpoint "$run/model" "$prompt" --max-tokens 200 --temperature 0.8 --top-p 0.95 --seed 1
cat <<EOF

----------------------------------------------------------------
where things are
  $run/tokenizer.model        the tokenizer
  $run/tokens/{train,valid}   token shards
  $run/model/checkpoints      checkpoints (model.safetensors inside)
  $run/model/metrics.jsonl    loss, learning rate, inner-loop statistics, one line a step
what to try next
  $ttt generate --checkpoint $run/model "your prompt" --max-tokens 300
  $ttt inspect $run/model
  STEPS=2000 tools/quickstart.sh$again      # train on from here
  tools/quickstart.sh MY_TEXT.txt           # your own text
EOF
