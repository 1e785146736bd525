#!/usr/bin/env bash
# A disk that fills up while a checkpoint is saved or a data set is prepared, here by a limit on the size of a file (which needs no rights): the command
# fails with one sentence, what was there before stays whole, and the same command goes on when there is room again.
# Environment: TTT, the binary; SOURCE, the checkout. The working directory is an empty scratch folder.
set -euo pipefail

die() { echo "FAILED: $*" >&2; exit 1; }

# with_limit KIB COMMAND...: no file grows beyond so many KiB; the write fails as on a full disk. (SIGXFSZ, which the command
# gets besides, would end it without a word.)
with_limit() {
  local kib=$1
  shift
  (ulimit -f "$kib"; exec "$@") >out.txt 2>errors.txt </dev/null
}
one_error() {  # TEXT: a single error line, which contains TEXT
  [ "$(grep -c '^error: ' errors.txt)" -eq 1 ] && grep '^error: ' errors.txt | grep -qF -- "$1" || { cat errors.txt >&2; die "no error line with '$1'"; }
}

"$TTT" tokenizer train --input "$SOURCE/src/base" --output t.model --vocab-size 512 >out.txt 2>&1 || { cat out.txt; die "tokenizer"; }
"$TTT" prepare --input "$SOURCE/src/base" --tokenizer t.model --output data >out.txt 2>&1 || { cat out.txt; die "prepare"; }
cat >run.yaml <<'YAML'
model: {mixer: ttt_linear, vocab_size: 512, hidden_size: 64, num_layers: 2, num_heads: 2, intermediate_size: 128}
data: {train: data}
train: {context: 32, batch_tokens: 64, steps: 12, threads: 1, device: cpu}
checkpoint: {every: 4}
output_dir: run
YAML
"$TTT" train run.yaml output_dir=straight >out.txt 2>&1 || { cat out.txt; die "train"; }
model=straight/checkpoints/step_00000012/model.safetensors
optimizer=straight/checkpoints/step_00000012/optimizer-00000-of-00001.safetensors
[ "$(stat -c %s "$optimizer")" -gt $((2 * $(stat -c %s "$model") - 4096)) ] || die "the optimizer's file is not the larger one"

# --- the disk is full in the middle of the optimizer's file of the second checkpoint ---
"$TTT" train run.yaml train.steps=4 optim.decay_steps=12 optim.warmup_steps=1 >out.txt 2>&1 || { cat out.txt; die "first steps"; }
cp -r run/checkpoints/step_00000004 before
code=0
with_limit $(($(stat -c %s "$model") * 3 / 2 / 1024)) "$TTT" train run.yaml optim.decay_steps=12 optim.warmup_steps=1 --quiet || code=$?
[ "$code" -eq 1 ] || { cat errors.txt >&2; die "exit code $code instead of 1 on a full disk"; }
one_error "optimizer-00000-of-00001.safetensors': File too large"
diff -r before run/checkpoints/step_00000004 || die "the checkpoint before was touched"
[ "$(ls run/checkpoints)" = step_00000004 ] || { ls run/checkpoints; die "the failed save left something behind"; }
"$TTT" inspect run >out.txt 2>&1 || { cat out.txt; die "the run is not whole"; }
# With room again the same command goes on, to the same end as a run that never failed.
"$TTT" train run.yaml optim.decay_steps=12 optim.warmup_steps=1 >out.txt 2>&1 || { cat out.txt; die "the run does not go on"; }
grep -q "resuming from 'run/checkpoints/step_00000004'" out.txt || { cat out.txt; die "resumed from elsewhere"; }
cmp "$model" run/checkpoints/step_00000012/model.safetensors || die "another model after the failed save"

# --- while a data set is prepared, and a tokenizer trained ---
for i in 1 2 3 4 5 6 7 8; do cat "$SOURCE"/src/*/*.cpp; done >big.txt
code=0
with_limit 64 "$TTT" prepare --input big.txt --tokenizer t.model --output big || code=$?
[ "$code" -eq 1 ] || { cat errors.txt >&2; die "prepare: exit code $code instead of 1"; }
one_error "File too large"
[ ! -e big/manifest.json ] || die "half a data set looks whole"
"$TTT" prepare --input big.txt --tokenizer t.model --output big >out.txt 2>&1 || { cat out.txt; die "prepare does not go on"; }
"$TTT" inspect big >out.txt || { cat out.txt; die "the data set is not whole"; }

# --- the other commands that write ---
cp -r straight/checkpoints/step_00000012 exported
code=0
with_limit 64 "$TTT" convert --from huggingface --input straight/checkpoints/step_00000012 --output exported --force || code=$?
[ "$code" -eq 1 ] || { cat errors.txt >&2; die "convert: exit code $code instead of 1"; }
one_error "File too large"
diff -r straight/checkpoints/step_00000012 exported || die "convert destroyed what it was to replace"
code=0
with_limit 1 "$TTT" eval --checkpoint straight --data data --context 32 --token-loss loss.npy || code=$?
[ "$code" -eq 1 ] || { cat errors.txt >&2; die "eval: exit code $code instead of 1"; }
[ -z "$(ls loss.npy* 2>/dev/null)" ] || die "eval left half a file"
echo "ok"
