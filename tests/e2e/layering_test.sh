#!/usr/bin/env bash
# The layering check passes on the tree, and fails on a planted upward include and on a planted outside library.
set -euo pipefail
mkdir -p tree
cp -r "$SOURCE/src" "$SOURCE/tools" tree/
bash tree/tools/check_layers.sh tree

expect_failure() {  # FILE LINE MESSAGE
  cp "tree/$1" saved
  printf '%s\n' "$2" >>"tree/$1"
  if bash tree/tools/check_layers.sh tree >out 2>&1; then echo "not noticed: $2 in $1"; exit 1; fi
  grep -q "$3" out || { cat out; exit 1; }
  cp saved "tree/$1"
}
expect_failure src/base/error.h '#include "train/trainer.h"' 'base must not include train'
expect_failure src/kernels/ttt_params.h '#include <torch/torch.h>' 'kernels must not use torch'
expect_failure src/ops/rope.h '#include "model/language_model.h"' 'ops must not include model'
bash tree/tools/check_layers.sh tree
