#!/usr/bin/env bash
# The command line itself: help, version, exit codes, did-you-mean, and that wrong input names its place and destroys nothing.
# $TTT: the binary, $SOURCE: the source folder; the working directory is empty and ours.
set -u
failures=0

fail() {
  echo "FAILED: $*"
  failures=$((failures + 1))
}

# expect CODE TEXT COMMAND...: runs it; its exit code is CODE and its output (both streams) contains TEXT.
expect() {
  local code=$1 text=$2
  shift 2
  "$@" >output.txt 2>&1 </dev/null
  local got=$?
  [ "$got" = "$code" ] || { fail "exit code $got instead of $code: $*"; cat output.txt; }
  grep -qF -- "$text" output.txt || { fail "no '$text' in the output of: $*"; cat output.txt; }
}

# refused TEXT COMMAND...: exit code 2 and one line on stderr that starts with "error: " and contains TEXT.
refused() {
  local text=$1
  shift
  "$@" >output.txt 2>errors.txt </dev/null
  local got=$?
  [ "$got" = 2 ] || { fail "exit code $got instead of 2: $*"; cat output.txt errors.txt; }
  grep -q "^error: " errors.txt || { fail "no 'error: ' from: $*"; cat errors.txt; }
  grep -F -- "$text" errors.txt >/dev/null || { fail "no '$text' from: $*"; cat errors.txt; }
}

# --- help and version ---
expect 0 "usage: ttt COMMAND" "$TTT" --help
# fits FILE LINES COLUMNS
fits() { awk -v lines="$2" -v columns="$3" 'length > columns {wide = 1} END {exit NR > lines || wide}' "$1"; }
"$TTT" --help >commands.txt
fits commands.txt 24 80 || fail "ttt --help does not fit a screen of 80 x 24"
grep -q "exit codes: 0 done; 1 failed; 2 " commands.txt || fail "ttt --help does not explain the exit codes"
expect 0 "ttt 0." "$TTT" --version
expect 0 "LibTorch    2.11" "$TTT" --version
expect 0 '"git_revision":"' "$TTT" --version --json
"$TTT" train --help >help.txt
fits help.txt 24 120 || fail "ttt train --help is not short"
"$TTT" train --help-config >help.txt || fail "ttt train --help-config"
fits help.txt 1000 100 || fail "ttt train --help-config is wider than 100 columns"
"$TTT" train --help-config --json >keys.json || fail "ttt train --help-config --json"
for key in model.mixer train.batch_tokens optim.lr checkpoint.keep_last output_dir; do
  grep -q "\"key\":\"$key\"" keys.json || fail "--help-config --json has no $key"
  grep -q "^  ${key#*.} " help.txt || fail "--help-config has no $key"
done
expect 2 "usage: ttt COMMAND" "$TTT"
for command in "bench op" "bench model"; do
  expect 0 "ttt $command" "$TTT" $command --help
  fits output.txt 1000 120 || fail "ttt $command --help is wider than 120 columns"
done
for command in train config plan bench sweep fit report tokenizer prepare eval generate convert inspect baseline; do
  expect 0 "ttt $command" "$TTT" $command --help
  fits output.txt 1000 120 || fail "ttt $command --help is wider than 120 columns"
  grep -qF "  $command " commands.txt || fail "ttt --help does not list $command"
done

# --- what was mistyped ---
refused "--context: must be a number above 0, not '0'" "$TTT" bench model run.yaml --context 0
refused "--threads: must be 0 or a number above it, not '-1'" "$TTT" bench op ttt_linear --threads -1
refused "did you mean 'ttt train'?" "$TTT" trian
refused "did you mean 'ttt generate'?" "$TTT" genrate
refused "\`ttt --help\` lists the commands" "$TTT" frobnicate
refused "did you mean '--checkpoint'?" "$TTT" eval --chekpoint x --data y
refused "--checkpoint" "$TTT" eval --data y
refused "--context" "$TTT" eval --checkpoint x --data y --context -5
refused "--from" "$TTT" convert --from word --input x --output y

# --- configs ---
printf 'data: {train: none}\noutput_dir: out\ntrain:\n  contxt: 64\n' >bad.yaml
refused "bad.yaml:4: unknown key 'train.contxt'; did you mean 'train.context'?" "$TTT" train bad.yaml
printf 'data: {train: none}\noutput_dir: out\n' >good.yaml
refused "command line: 'train.steps' must be an integer" "$TTT" train good.yaml train.steps=many
refused "'none'" "$TTT" train good.yaml
refused "there is no config file 'absent.yaml'" "$TTT" train absent.yaml
refused "train.dtype" "$TTT" train good.yaml train.dtype=fp16
[ ! -e out/checkpoints ] || fail "a refused training left checkpoints behind"

refused "did you mean '$SOURCE/configs/model/ttt_linear_125m.yaml'?" "$TTT" train "$SOURCE/configs/model/ttt_liner_125m.yaml"
"$TTT" config good.yaml train.steps=7 >config.txt || fail "ttt config"
grep -Eq '^train.steps +7 +command line$' config.txt || { fail "ttt config: train.steps"; cat config.txt; }
expect 0 "good.yaml:1" "$TTT" config good.yaml
(cd "$SOURCE" && "$TTT" config ttt_linear_125m) 2>errors.txt && fail "a preset's bare name is no file"
grep -q "did you mean 'configs/model/ttt_linear_125m.yaml'" errors.txt || { fail "no preset suggested"; cat errors.txt; }
expect 0 '"model.hidden_size":{"value":"768","origin":"' "$TTT" config "$SOURCE/configs/model/ttt_linear_125m.yaml" --json

# --- plans ---
expect 0 "exact products      224MFLOP   671MFLOP" "$TTT" plan "$SOURCE/configs/model/ttt_linear_125m.yaml"
expect 0 "total               " "$TTT" plan good.yaml
expect 0 "69.9 h at 10k tokens/s (--tokens-per-second)" "$TTT" plan "$SOURCE/configs/run/ttt_linear_125m_2k.yaml" --tokens-per-second 10000
expect 0 '"tokens":2516582400' "$TTT" plan "$SOURCE/configs/run/mamba_125m_2k.yaml" --tflops 100 --json
refused "train.context" "$TTT" plan good.yaml train.contxt=3

# --- checkpoints and data that are not there ---
refused "there is no checkpoint 'absent'" "$TTT" generate --checkpoint absent "text"
mkdir -p empty
refused "holds no complete checkpoint" "$TTT" generate --checkpoint empty "text"
refused "absent" "$TTT" eval --checkpoint empty --data absent
refused "--dtype" "$TTT" eval --checkpoint empty --data absent --dtype fp16
refused "top-p must be above 0" "$TTT" generate --checkpoint empty --top-p 0 "text"
printf 'caf\xe9' >latin1.txt
refused "is not UTF-8 text: byte 3" "$TTT" generate --checkpoint empty --prompt-file latin1.txt

# --- a small life: text -> tokens -> train -> eval -> generate; convert's guards ---
cat "$SOURCE"/src/*/*.h | head -n 1500 >text.txt
expect 0 '"vocab_size":512' "$TTT" tokenizer train --input text.txt --output t.model --vocab-size 512 --json
expect 0 '"bytes":5' "$TTT" tokenizer encode --model t.model --json "a  bc"
expect 0 "" "$TTT" prepare --input text.txt --tokenizer t.model --output data
run=(train "$SOURCE/configs/run/quickstart.yaml" model.hidden_size=32 model.num_layers=2 model.num_heads=2 model.intermediate_size=64
  model.vocab_size=512 data.train=data data.valid= train.context=64 train.batch_tokens=256 train.steps=4 train.stats_every=0
  checkpoint.every=2 train.threads=1 output_dir=run)
expect 0 "" "$TTT" "${run[@]}"
[ -f run/checkpoints/step_00000004/model.safetensors ] || fail "training left no checkpoint"

expect 0 '"bits_per_byte":' "$TTT" eval --checkpoint run --data data --context 50 --max-samples 3 --token-loss loss.npy --json
[ "$(stat -c %s loss.npy)" = $((128 + 3 * 50 * 4)) ] || fail "loss.npy is not fp32 [3, 50]"
expect 0 "perplexity" "$TTT" eval --checkpoint run/checkpoints/step_00000002 --data data --max-samples 2

# Every target is scored at every context: what does not fill a window is the shorter last one, in the .npy with zeros behind it.
scored() { "$TTT" eval --checkpoint run --data data --json "$@" 2>/dev/null | grep -o '"tokens":[0-9]*' | cut -d: -f2; }
all=$(scored)
[ "$all" -gt 100 ] || fail "eval scored $all tokens"
for context in 50 64 100 $((all / 2 + 9)); do
  [ "$(scored --context $context)" = "$all" ] || fail "--context $context scores $(scored --context $context) targets of $all"
done
expect 0 "sequences of $((all / 2 + 9)), the last of " "$TTT" eval --checkpoint run --data data --context $((all / 2 + 9))
"$TTT" eval --checkpoint run --data data --context 100 --token-loss loss.npy --json >output.txt 2>/dev/null
windows=$(grep -o '"samples":[0-9]*' output.txt | cut -d: -f2)
[ "$(stat -c %s loss.npy)" = $((128 + windows * 100 * 4)) ] || fail "loss.npy is not fp32 [$windows, 100]"
[ "$(tail -c 4 loss.npy | od -An -tx4 | tr -d ' ')" = 00000000 ] || fail "the end of the last window is not 0"

loss() { "$TTT" eval --checkpoint run --data data --context 50 --max-samples 3 --json "$@" 2>/dev/null | grep -o '"loss":[0-9.]*' | cut -d: -f2; }
awk -v a="$(loss)" -v b="$(loss --dtype bf16)" 'BEGIN { exit !(a > 0 && b > 0 && a != b && (a - b) ^ 2 < (0.01 * a) ^ 2) }' ||
  fail "the loss in bf16, $(loss --dtype bf16), is not that of fp32, $(loss), but for rounding"

generate=("$TTT" generate --checkpoint run --max-tokens 12 --threads 1)
"${generate[@]}" "the value" --seed 3 >a.txt 2>speed.txt || fail "generate"
grep -q "tokens/s" speed.txt || fail "generate does not report its speed on stderr"
"${generate[@]}" "the value" --seed 3 --no-stream >b.txt 2>/dev/null || fail "generate --no-stream"
printf 'the value' | "${generate[@]}" --seed 3 >c.txt 2>/dev/null || fail "generate from standard input"
printf 'the value' >prompt.txt
"${generate[@]}" --prompt-file prompt.txt --seed 3 >d.txt 2>/dev/null || fail "generate from a file"
for other in b c d; do cmp -s a.txt $other.txt || fail "a.txt and $other.txt differ: the same prompt and seed, another text"; done
expect 0 '"finish":' "${generate[@]}" "the value" --json --temperature 0

expect 0 '"finish":' "${generate[@]}" "the value" --json --dtype bf16

# A vocabulary that is not the model's.
expect 0 "" "$TTT" tokenizer train --input text.txt --output other.model --vocab-size 400
expect 0 "" "$TTT" prepare --input text.txt --tokenizer other.model --output other
refused "other" "$TTT" eval --checkpoint run --data other --context 32
# Same size, another tokenizer.
sed 's/the/der/g; s/of/von/g' text.txt >text2.txt
expect 0 "" "$TTT" tokenizer train --input text2.txt --output same.model --vocab-size 512
expect 0 "" "$TTT" prepare --input text2.txt --tokenizer same.model --output same
refused "another tokenizer" "$TTT" eval --checkpoint run --data same --context 32
refused "has 400 pieces, the model 512" "$TTT" generate --checkpoint run --tokenizer other.model "the"
refused "same.model' is another one than that of checkpoint" "$TTT" generate --checkpoint run --tokenizer same.model "the"
expect 0 "" "$TTT" generate --checkpoint run --tokenizer t.model --max-tokens 3 "the"

# A flipped byte in a checkpoint is found and named.
cp -r run/checkpoints/step_00000004 damaged
printf '\xff' | dd of=damaged/model.safetensors bs=1 seek=3000 conv=notrunc status=none
refused "model.safetensors" "$TTT" generate --checkpoint damaged "the"

# Full attention does not go beyond its context.
run_attention=("${run[@]}" model.mixer=attention model.pre_conv=false output_dir=attention train.steps=1)
expect 0 "" "$TTT" "${run_attention[@]}"
refused "context of 64" "$TTT" generate --checkpoint attention --max-tokens 100 "the value"
expect 0 "tokens/s" "$TTT" generate --checkpoint attention --max-tokens 20 "the value"

# convert writes only where nothing is lost.
mkdir -p precious && echo data >precious/thesis.txt
convert=("$TTT" convert --from huggingface --input run/checkpoints/step_00000004)
refused "not empty" "${convert[@]}" --output precious
refused "is not a checkpoint" "${convert[@]}" --output precious --force
[ "$(cat precious/thesis.txt)" = data ] || fail "convert touched a folder that it refused"
expect 0 "ttt_linear" "${convert[@]}" --output converted --tokenizer t.model
refused "not empty" "${convert[@]}" --output converted
expect 0 '"mixer":"ttt_linear"' "${convert[@]}" --output converted --tokenizer t.model --force --json
"$TTT" generate --checkpoint converted --max-tokens 12 --threads 1 "the value" --seed 3 >e.txt 2>/dev/null || fail "generate from a converted model"
cmp -s a.txt e.txt || fail "a converted model gives another text"
# A model whose vocabulary is padded beyond its tokenizer's pieces: what is padding is never generated.
expect 0 "has 112 ids more than" "${convert[@]}" --output padded --tokenizer other.model
expect 0 '"finish":' "$TTT" generate --checkpoint padded --max-tokens 60 --json --temperature 5 "the value"
grep -o '"tokens":\[[^]]*' output.txt | tr -c '0-9\n' '\n' | awk '$1 >= 400 {bad = 1} END {exit bad}' || { fail "ids beyond the tokenizer"; cat output.txt; }
expect 0 "perplexity" "$TTT" eval --checkpoint padded --data other --context 32 --max-samples 2
refused "another tokenizer" "$TTT" eval --checkpoint padded --data data --context 32
grep -q '"eos_token_id": 2' padded/config.json && grep -q '"bos_token_id": 1' padded/config.json || { fail "no ids in config.json"; cat padded/config.json; }
expect 0 "" "$TTT" "${run[@]}" data.train=other init_from=padded output_dir=tuned train.steps=2 checkpoint.every=0 model.vocab_size=512
expect 0 "tokens/s" "$TTT" generate --checkpoint tuned --max-tokens 3 "the"
refused "needs --config" "$TTT" convert --from ttt-lm-jax --input prompt.txt --output x

[ $failures = 0 ] || { echo "$failures failures"; exit 1; }
echo "all passed"
