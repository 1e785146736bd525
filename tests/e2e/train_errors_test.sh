#!/usr/bin/env bash
# Wrong input to `ttt train`: exit code 2, one sentence that names the place, and nothing that was there is changed.
# Environment: TTT, the binary; SOURCE, the checkout. The working directory is an empty scratch folder.
set -euo pipefail
failures=0

fail() {
  echo "FAILED: $*" >&2
  failures=$((failures + 1))
}

# All files of the runs and the data with their contents, but not the lock and the log, which a refused start may touch.
fingerprint() { find data run wide -type f ! -name .lock ! -name train.log -exec cksum {} + | sort -k 3; }

# refused TEXT [key=value ...]: `ttt train run.yaml` with these keys exits with 2 and one line "error: ...TEXT...".
refused() {
  local text=$1 got=0 before
  shift
  before=$(fingerprint)
  "$TTT" train run.yaml --quiet "$@" >out.txt 2>errors.txt </dev/null || got=$?
  [ "$got" -eq 2 ] || { fail "exit code $got instead of 2: $*"; cat errors.txt >&2; }
  [ "$(grep -c . errors.txt)" -eq 1 ] || { fail "not one line: $*"; cat errors.txt >&2; }
  grep '^error: ' errors.txt | grep -qF -- "$text" || { fail "no '$text': $*"; cat errors.txt >&2; }
  [ "$(fingerprint)" = "$before" ] || fail "files changed: $*"
}

# damage FILE: flips a bit in its middle; repair FILE: the copy made before.
damage() {
  cp "$1" "$1.whole"
  local place=$(($(stat -c %s "$1") / 2)) byte
  byte=$(od -An -tu1 -j "$place" -N 1 "$1")
  printf "\\x$(printf %x $((byte ^ 4)))" | dd of="$1" bs=1 seek="$place" conv=notrunc status=none
}
repair() { mv "$1.whole" "$1"; }

prepare() { "$TTT" prepare "$@" >out.txt 2>&1 || { cat out.txt; exit 1; }; }
"$TTT" tokenizer train --input "$SOURCE/src/base" --output t.model --vocab-size 512 >out.txt 2>&1 || { cat out.txt; exit 1; }
"$TTT" tokenizer train --input "$SOURCE/src/base" --output wide.model --vocab-size 520 >out.txt 2>&1 || { cat out.txt; exit 1; }
head -c 6000 "$SOURCE/src/base/files.cpp" >text.cpp
prepare --input text.cpp --tokenizer t.model --output data
prepare --input text.cpp --tokenizer wide.model --output wide
cat >run.yaml <<'YAML'
model: {mixer: attention, vocab_size: 512, hidden_size: 16, num_layers: 1, num_heads: 2, intermediate_size: 32}
data: {train: data, valid: data}
train: {context: 64, batch_tokens: 128, steps: 8, threads: 1, device: cpu}
checkpoint: {every: 4}
output_dir: run
YAML
"$TTT" train run.yaml >out.txt 2>&1 || { cat out.txt; exit 1; }

# --- the config ---
refused "did you mean 'train.context'" train.contxt=32
refused "train.steps" train.steps=many
refused "train.steps" train.steps=-3
refused "optim.beta1" optim.beta1=1.5
refused "model.mixer" model.mixer=lstm
refused "multiple of train.context" train.batch_tokens=100 output_dir=new
refused "train.dtype" train.dtype=fp16
# With no GPU to be seen, also where there is one.
export CUDA_VISIBLE_DEVICES=
refused "train.device: cuda was asked for but" train.device=cuda output_dir=new
"$TTT" train run.yaml train.device=auto train.cuda_graph=true output_dir=auto train.steps=1 >out.txt 2>&1 || { cat out.txt; fail "train.device: auto"; }
grep -Eq "device: cpu \(auto: (there is no NVIDIA driver|LibTorch sees no usable GPU|this ttt was built without CUDA)\)" out.txt || { cat out.txt; fail "auto says nothing"; }
grep -q "train.cuda_graph is not used: the run is on a CPU" out.txt || { cat out.txt; fail "nothing is said of the graph"; }
rm -r auto
refused "train.kernels sets kernel cuda for swiglu, which cannot run here: " train.kernels=swiglu=cuda
unset CUDA_VISIBLE_DEVICES
refused "train.ttt_kernel names no TTT kernel" train.ttt_kernel=fused_avx1024
refused "train.kernels names no op: \"rms_nrom\"; the ops with kernels are ttt, ttt_linear, " train.kernels=rms_nrom=fused
refused "train.kernels names no kernel of rms_norm: \"fsued\"; the kernels of this build are cuda, fused, composed" "train.kernels={rms_norm: fsued}"
cp run.yaml whole.yaml
echo "optimm: {lr: 1}" >>run.yaml
refused "run.yaml:6"
printf 'model: {mixer: [\n' >run.yaml
refused "not valid YAML"
rm run.yaml
refused "run.yaml"
cp whole.yaml run.yaml

# --- the data ---
refused "no/such/data" data.train=no/such/data
refused "vocabulary of 520" data.train=wide output_dir=new
refused "data.valid" data.valid=wide
refused "vocabulary of 512" model.vocab_size=513 output_dir=new
refused "too few for one sample" train.context=65536 train.batch_tokens=65536 output_dir=new
refused "no.model" tokenizer=no.model
refused "another tokenizer" tokenizer=wide.model
damage data/tokens-00000.bin
refused "tokens-00000.bin"
repair data/tokens-00000.bin
cp data/tokens-00000.bin whole.bin
head -c 100 whole.bin >data/tokens-00000.bin
refused "tokens-00000.bin"
cp whole.bin data/tokens-00000.bin
damage data/manifest.json
refused "manifest.json"
repair data/manifest.json

# --- the output folder ---
touch a_file
refused "choose another output folder" output_dir=a_file
refused "choose another output folder" output_dir=a_file/below
[ -e new ] && fail "a refused run left its output folder behind"
if [ "$(id -u)" -ne 0 ]; then
  mkdir locked && chmod 500 locked
  refused "choose another output folder" output_dir=locked
fi

# --- resuming with another config ---
refused "model.hidden_size (was 16, now 32)" model.hidden_size=32
refused "train.seed (was 0, now 5)" train.seed=5 train.steps=12
refused "data.order (was shuffled, now sequential)" data.order=sequential
refused "train.context (was 64, now 32)" train.context=32
cp -r data other
printf 'int main() { return 0; }\n%.0s' {1..200} >text.cpp
prepare --input text.cpp --tokenizer t.model --output other --force
refused "holds other data" data.train=other

# --- damaged checkpoints (checkpoint_test damages every file): the run falls back to the one before and ends as it would have ---
newest=run/checkpoints/step_00000008
falls_back() {  # NAME: what the warning names
  "$TTT" train run.yaml --quiet output_dir=damaged >out.txt 2>errors.txt </dev/null || { fail "no fall-back: $1"; cat errors.txt >&2; }
  grep 'warning:' errors.txt | grep -qF -- "$1" || { fail "no warning about $1"; cat errors.txt >&2; }
  grep -q "step_00000008.damaged', and the run falls back to 'damaged/checkpoints/step_00000004'" errors.txt || { fail "does not say where it falls back to: $1"; cat errors.txt >&2; }
  [ -d damaged/checkpoints/step_00000008.damaged ] || fail "the damaged checkpoint is not kept: $1"
  cmp "$newest/model.safetensors" damaged/checkpoints/step_00000008/model.safetensors || fail "another model after falling back: $1"
}
for name in model.safetensors state.json manifest.json; do
  rm -rf damaged
  cp -r run damaged
  damage "damaged/checkpoints/step_00000008/$name"
  rm "damaged/checkpoints/step_00000008/$name.whole"
  falls_back "$name"
done
rm -rf damaged
cp -r run damaged
rm damaged/checkpoints/step_00000008/COMPLETE
falls_back COMPLETE
# All of them: nothing to fall back to, and nothing is touched.
damage run/checkpoints/step_00000004/state.json
damage "$newest/model.safetensors"
refused "those before it are damaged too" train.steps=12
repair "$newest/model.safetensors"
repair run/checkpoints/step_00000004/state.json
# One that a newer program wrote is not damaged.
cp "$newest/manifest.json" manifest.whole
sed -i 's/"format_version": 1/"format_version": 3/' "$newest/manifest.json"
refused "its format_version is 3 and this program reads up to 2; a newer ttt wrote it" train.steps=12
cp manifest.whole "$newest/manifest.json"

# --- init_from ---
refused "there is no checkpoint 'nowhere'" init_from=nowhere output_dir=fresh
refused "model.num_heads" "init_from=$newest" output_dir=fresh model.num_heads=4
damage "$newest/model.safetensors"
refused "model.safetensors" "init_from=$newest" output_dir=fresh
repair "$newest/model.safetensors"

# --- no memory: what to change, and the run is where it was ---
free="GPU 0 has a total capacity of 79.11 GiB of which 0.50 GiB is free"
# out_of_memory TEXT [key=value ...]
out_of_memory() {
  local text=$1 got=0
  shift
  TTT_FAULT=out_of_memory@10 "$TTT" train run.yaml --quiet train.steps=12 "$@" >out.txt 2>errors.txt </dev/null || got=$?
  [ "$got" -eq 1 ] || { fail "exit code $got without memory"; cat errors.txt >&2; }
  grep '^error: ' errors.txt | grep -qF -- "out of memory in step 10, in micro-batches of $text, and start the same command again" ||
    { fail "no '$text'"; cat errors.txt >&2; }
}
out_of_memory "2 x 64 tokens (CUDA out of memory. Tried to allocate 1.00 GiB. $free); set train.micro_batch to 1, which changes results by rounding alone, or train.recompute to true"
out_of_memory "1 x 64 tokens (CUDA out of memory. Tried to allocate 1.00 GiB. $free); set train.recompute to true" train.micro_batch=1
out_of_memory "1 x 64 tokens (CUDA out of memory. Tried to allocate 1.00 GiB. $free); take a shorter train.context or a smaller model, or more processes with dist.zero: 1" \
  train.micro_batch=1 train.recompute=true

# After all of this the run still goes on.
"$TTT" train run.yaml train.steps=12 >out.txt 2>&1 || { cat out.txt; fail "the run does not go on"; }
[ -d run/checkpoints/step_00000012 ] || fail "no checkpoint of step 12"
[ "$failures" -eq 0 ] || exit 1
echo "ok"
