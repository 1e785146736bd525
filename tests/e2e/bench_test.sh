#!/usr/bin/env bash
# ttt bench: one JSON object or a table, and wrong use refused. What was measured is never judged.
# $TTT: the binary, $SOURCE: the source folder; the working directory is an empty scratch folder.
set -euo pipefail

die() { echo "FAILED: $*" >&2; exit 1; }

# ends CODE TEXT COMMAND...: that exit code, and a line on stderr that starts with "error: " and contains TEXT.
ends() {
  local wanted=$1 text=$2 code=0
  shift 2
  "$@" >out.txt 2>errors.txt || code=$?
  [ "$code" = "$wanted" ] || { cat out.txt errors.txt; die "exit code $code instead of $wanted: $*"; }
  grep "^error: " errors.txt | grep -qF -- "$text" || { cat errors.txt; die "no '$text' from: $*"; }
  [ ! -s out.txt ] || die "something on standard output beside the error of: $*"
}
refused() { ends 2 "$@"; }  # TEXT COMMAND...

# object FILE KEY...: one line, a JSON object with these top-level keys that hold numbers above zero.
object() {
  local file=$1
  shift
  [ "$(wc -l <"$file")" -eq 1 ] && grep -q '^{.*}$' "$file" || { cat "$file"; die "not one line of JSON"; }
  for key in "$@"; do
    grep -Eq "[{,]\"$key\":[0-9.e+-]*[1-9]" "$file" || { cat "$file"; die "no number '$key'"; }
  done
}

cat >tiny.yaml <<'YAML'
model: {mixer: ttt_linear, vocab_size: 300, hidden_size: 32, num_layers: 2, num_heads: 2, intermediate_size: 48}
YAML

"$TTT" bench model tiny.yaml --context 64 --batch-tokens 128 --dtype fp32 --steps 2 --threads 1 --json >model.json 2>log.txt ||
  { cat log.txt; die "bench model"; }
object model.json tokens_per_second gemm_ceiling_fraction peak_memory_bytes gemm_ceiling_tokens_per_second gemm_gflops parameters
for text in '"context":64' '"batch_tokens":128' '"micro_batch":2' '"threads":1' '"dtype":"fp32"' '"steps":2' '"kernels":{"ttt_linear":"' \
  '"step_ms":{"median":[0-9.]*,"min":[0-9.]*,"max":[0-9.]*}' '"forward_ms":{' '"backward_ms":{' '"optimizer_ms":{' '"cpu":"' '"revision":"'; do
  grep -q -- "$text" model.json || { cat model.json; die "no $text"; }
done
"$TTT" bench model tiny.yaml train.ttt_kernel=composed --context 64 --steps 1 --threads 1 --json 2>log.txt | grep -q '"kernels":{"ttt_linear":"composed"}' ||
  { cat log.txt; die "train.ttt_kernel does not choose the row"; }
"$TTT" bench model tiny.yaml train.kernels=ttt=reference --context 64 --steps 1 --threads 1 --json 2>log.txt | grep -q '"kernels":{"ttt_linear":"reference"}' ||
  { cat log.txt; die "train.kernels does not choose the row"; }
TTT_KERNELS=ttt_linear=reference "$TTT" bench model tiny.yaml --context 64 --steps 1 --threads 1 --json 2>log.txt | grep -q '"kernels":{"ttt_linear":"reference"}' ||
  { cat log.txt; die "TTT_KERNELS does not choose the row"; }
CUDA_VISIBLE_DEVICES= TTT_KERNELS=rope=composed,swiglu=fused "$TTT" doctor --disk-mb 0 --ranks 1 >doctor.txt 2>log.txt || { cat log.txt; die "doctor"; }
grep -Eq '^ +rope +composed +is taken \(set by the environment variable TTT_KERNELS\)' doctor.txt && grep -Eq '^ +layer_norm_gate +fused +is taken$' doctor.txt &&
  grep -Eq '^ +adamw +cuda +it runs on a GPU$' doctor.txt || { cat doctor.txt; die "doctor does not list the kernels"; }
# A run config's step is cut to what can be timed; keys are overridden as in ttt train.
"$TTT" bench model "$SOURCE/configs/run/quickstart.yaml" model.hidden_size=32 model.num_layers=1 model.num_heads=2 model.vocab_size=300 \
  model.intermediate_size=48 train.context=128 train.threads=1 --steps 1 >model.txt 2>log.txt || { cat log.txt; die "bench model of a run config"; }
for text in 'steps of 8192 tokens in sequences of 128' 'GEMM ceiling' 'peak memory' '  forward ' 'clip, AdamW'; do
  grep -qF -- "$text" model.txt || { cat model.txt; die "no $text"; }
done
[ -z "$(find . -newer tiny.yaml -type d ! -name .)" ] || die "bench wrote a folder"

op=("$TTT" bench op ttt_linear --heads 2 --head-dim 16 --context 40 --repeats 2 --threads 1)
"${op[@]}" --json >op.json 2>log.txt || { cat log.txt; die "bench op"; }
object op.json
for text in '"op":"ttt_linear"' '"unit":"token-head"' '"name":"composed"' '"name":"reference"' '"name":"naive"' '"error_gradients":' '"peak_gflops":{'; do
  grep -qF -- "$text" op.json || { cat op.json; die "no $text"; }
done
"$TTT" bench op ttt_mlp --heads 2 --head-dim 16 --context 40 --repeats 1 --threads 2 >op.txt 2>log.txt || { cat log.txt; die "bench op ttt_mlp"; }
grep -q '^naive ' op.txt && grep -q 'x naive' op.txt && grep -q 'x 1 thr' op.txt || { cat op.txt; die "no table"; }

"${op[@]}" --attention --device cpu >op.txt 2>log.txt || { cat log.txt; die "bench op --attention"; }
grep -q '^attention ' op.txt || { cat op.txt; die "no attention beside it"; }
"$TTT" bench op swiglu --heads 1 --head-dim 16 --context 3000 --repeats 1 --threads 1 >op.txt 2>log.txt || { cat log.txt; die "bench op swiglu"; }
grep -q '^errors are those of 1 x 1 heads of 16, 2048 tokens' op.txt || { cat op.txt; die "it does not say what was held against fp64"; }

# --check: a line for each row and shape, or one object.
"$TTT" bench op ttt_linear --check --threads 1 >check.txt 2>log.txt || { cat check.txt log.txt; die "bench op --check"; }
grep -Eq '^ok +ttt_linear composed: 2 x 3 heads of 64, 37 tokens, fp32: output [0-9.e-]+, gradients [0-9.e-]+ \(at most 1e-04\)' check.txt &&
  grep -q '^ok .* decoding: .* heads of 96, .*bf16' check.txt && grep -q '^left out: cuda: ' check.txt || { cat check.txt; die "no lines of checks"; }
"$TTT" bench op conv_rope --check --row fused --threads 1 --json >check.json 2>log.txt || { cat log.txt; die "bench op --check --json"; }
object check.json error_output error_gradients tolerance
grep -q '"passed":true,"checks":\[{"row":"fused"' check.json && ! grep -q '"row":"naive"' check.json || { cat check.json; die "not the row alone"; }
refused "no row 'fusde' of the op rope" "$TTT" bench op rope --check --row fusde
refused "did you mean 'ttt_linear'?" "$TTT" bench op ttt_liner --check
refused "--device" "$TTT" bench op rope --device tpu
# With no GPU to be seen, also where there is one.
for what in "op rope" "op rope --check" "model tiny.yaml" "decode tiny.yaml"; do
  read -ra words <<<"$what"
  case $what in op*) setting=--device ;; *) setting=train.device: ;; esac
  refused "$setting cuda was asked for but" env CUDA_VISIBLE_DEVICES= "$TTT" bench "${words[@]}" --device cuda
done
"$TTT" bench model tiny.yaml --device cpu --context 64 --batch-tokens 128 --steps 1 --threads 1 --json 2>log.txt | grep -q '"model_flops_per_token":[1-9].*"device":"cpu"' ||
  { cat log.txt; die "bench model --device cpu"; }

"$TTT" bench decode tiny.yaml --prompts 16,48 --tokens 4 --repeats 2 --threads 1 --json >decode.json 2>log.txt || { cat log.txt; die "bench decode"; }
object decode.json prompt_tokens weight_gb_per_second copy_fraction weight_bytes state_bytes
"$TTT" bench decode tiny.yaml --prompts 16 --tokens 4 --repeats 1 --threads 1 --dtype bf16 >decode.txt 2>log.txt || { cat log.txt; die "bench decode in bf16"; }
grep -q '^copy in this run' decode.txt || { cat decode.txt; die "no copy"; }

# What CUDA kernels need of a GPU, where this build has them.
if grep -q libtorch_cuda <<<"$(ldd "$TTT")"; then
  "$TTT" bench op ttt_linear --plan >plan.txt 2>log.txt || { cat log.txt; die "bench op --plan"; }
  grep -Eq '^backward bf16 64 +128 .* [0-9]+ +0 +[1-9][0-9]* +[0-9]+ % +\| +[0-9]+ +0 +[1-9]' plan.txt && grep -q 'too large' plan.txt ||
    { cat plan.txt; die "no plan of the backward kernel"; }
  "$TTT" bench op ttt_linear --plan --json >plan.json 2>log.txt || { cat log.txt; die "bench op --plan --json"; }
  object plan.json threads shared_bytes registers blocks_per_multiprocessor occupancy
else
  "$TTT" bench op ttt_linear --plan >plan.txt 2>log.txt || { cat log.txt; die "bench op --plan without nvcc"; }
  grep -q 'registers are unknown: this ttt was built without nvcc' plan.txt || { cat plan.txt; die "not a word of registers"; }
fi
"$TTT" bench op ttt_linear --plan --batch 16 --dtype bf16 >plan.txt 2>log.txt || { cat log.txt; die "bench op --plan --batch"; }
grep -Eq '^forward bf16 64 +192 +128 .* us, bytes' plan.txt || { cat plan.txt; die "no predicted time of the forward kernel"; }
"$TTT" bench op attention --plan >plan.txt 2>log.txt || { cat log.txt; die "bench op attention --plan"; }
grep -q 'attention has no CUDA kernels of this project' plan.txt || { cat plan.txt; die "attention has a plan"; }
refused "did you mean 'ttt_linear'?" "$TTT" bench op ttt_liner --plan

# --- peer: a script in the place of Python that answers as the peer's program does ---

cat >attention.yaml <<'YAML'
model: {mixer: attention, vocab_size: 300, hidden_size: 32, num_layers: 2, num_heads: 2, intermediate_size: 48}
YAML
# python FILE PARAMETERS STEPS: makes it; STEPS are commands that answer the line $n.
python() {
  cat >"$1" <<SH
#!/usr/bin/env bash
echo \$\$ >peer.pid
printf '%s' "\$2" >script.py
printf '%s' "\$3" >settings.json
[ "\$1" = -c ] || { echo "not -c" >&2; exit 4; }
$3
echo '{"parameters":$2,"torch":"9.8.7","transformers":"6.5.4","python":"3.2.1","optimizer":"fused"}'
while read -r n; do $4; done
SH
  chmod +x "$1"
}
gone() { ! grep -q '^State:[[:space:]]*[^ZX]' "/proc/$(cat peer.pid)/status" 2>/dev/null; }
# failed TEXT COMMAND...: exit code 1 and one sentence that contains TEXT; the peer is gone.
failed() {
  ends 1 "$@"
  gone || die "the peer was left running: $*"
}
peer=("$TTT" bench peer attention.yaml --context 64 --threads 1)
python ./twice 1 "" 'case $n in 2) echo "{\"tokens_per_second\":[1000,1000.5]}" ;; *) exit 5 ;; esac'
"${peer[@]}" --python ./twice --steps 2 --rounds 3 --json >peer.json 2>log.txt || { cat log.txt; die "bench peer"; }
gone || die "the peer was left running"
object peer.json ours_tokens_per_second peer_tokens_per_second ratio ratio_low ratio_high parameters
for text in '"peer":"LlamaForCausalLM"' '"peer_tokens_per_second":1000.25' '"torch":"9.8.7"' '"transformers":"6.5.4"' '"rounds":3' '"batch_tokens":64' '"threads":1' \
  '"dtype":"fp32"' '"cpu":"'; do
  grep -qF -- "$text" peer.json || { cat peer.json; die "no $text"; }
done
grep -q 'warning:.*the peer is another model: it has 1 parameters' log.txt || { cat log.txt; die "no word of another number of parameters"; }
for text in '"peer":"LlamaForCausalLM"' '"hidden_size":32' '"context":64' '"sequences":1' '"threads":1' '"bf16":false'; do
  grep -qF -- "$text" settings.json || { cat settings.json; die "the peer is not told $text"; }
done
if command -v python3 >/dev/null; then
  python3 -c 'compile(open("script.py").read(), "script.py", "exec")' || die "the peer's program is not Python"
fi
parameters=$(sed 's/.*"parameters":\([0-9]*\),.*/\1/' peer.json)
python ./once "$parameters" "" 'echo "{\"tokens_per_second\":[1000]}"'
"${peer[@]}" --python "$PWD/once" --steps 1 --rounds 2 --batch-tokens 128 --dtype bf16 >peer.txt 2>log.txt || { cat log.txt; die "bench peer as text"; }
! grep -q 'another model' log.txt || { cat log.txt; die "equal numbers of parameters are warned of"; }
for text in 'beside LlamaForCausalLM' 'steps of 128 tokens in sequences of 64' 'LlamaForCausalLM  1000.0 tokens/s' 'ttt / peer ' 'transformers 6.5.4' 'machine '; do
  grep -qF -- "$text" peer.txt || { cat peer.txt; die "no $text"; }
done
mkdir official
touch official/ttt.py
"$TTT" bench peer tiny.yaml --context 64 --threads 1 --python ./once --steps 1 --rounds 1 --official official --json >peer.json 2>log.txt ||
  { cat log.txt; die "bench peer --official"; }
grep -qF '"peer":"TTTForCausalLM"' peer.json && grep -qF "\"official\":\"$PWD/official\"" settings.json || { cat peer.json settings.json; die "not the official code"; }

python ./dies 1 "" 'echo first >&2; echo "MemoryError: no room" >&2; exit 3'
failed "was training and died (exit code 3): MemoryError: no room" "${peer[@]}" --python ./dies
python ./late 1 "exec sleep 600" :
failed "was starting and gave no answer in 1 s" "${peer[@]}" --python ./late --peer-seconds 1
python ./wrong 1 "" 'echo "{\"tokens_per_second\":[1000]}"'
failed "which is not what its script says" "${peer[@]}" --python ./wrong --steps 2
failed "which is no JSON object" "${peer[@]}" --python /bin/echo
python ./bare 1 "echo '{\"missing\":\"No module named torch\"}'; exit" :
refused "the Python './bare' lacks torch or transformers (No module named torch)" "${peer[@]}" --python ./bare
refused "there is no program './absent' for --python" "${peer[@]}" --python ./absent
refused "there is no program 'no-such-python' for --python" "${peer[@]}" --python no-such-python
refused "--python" "${peer[@]}"
refused "gated_deltanet has no peer" "${peer[@]}" model.mixer=gated_deltanet --python ./once
refused "with --official DIR" "$TTT" bench peer tiny.yaml --python ./once
refused "there is no 'absent/ttt.py'" "$TTT" bench peer tiny.yaml --python ./once --official absent
refused "--official names the code of TTT layers" "${peer[@]}" --python ./once --official official
# A peer in the middle of its work ends with the program.
rm peer.pid
python ./long 1 "" 'exec sleep 600'
"${peer[@]}" --python ./long >out.txt 2>log.txt &
program=$!
works() { [ -s peer.pid ] && [ "$(tr '\0' ' ' <"/proc/$(cat peer.pid)/cmdline" 2>/dev/null)" = "sleep 600 " ]; }
for ((i = 0; i < 600; ++i)); do ! works || break; sleep 0.1; done
works || die "the peer was not started in a minute"
kill "$program"
wait "$program" || true
for ((i = 0; i < 100; ++i)); do ! gone || break; sleep 0.1; done
gone || die "the peer outlived the program"
# The peers themselves, where this machine has a Python with both (tools/python_env.sh --transformers).
if real=$("$SOURCE/tools/python_env.sh" --find --transformers 2>/dev/null); then
  for mixer in attention mamba; do
    "${peer[@]}" model.mixer=$mixer --python "$real/bin/python" --steps 1 --rounds 2 --json >peer.json 2>log.txt || { cat log.txt; die "bench peer of $mixer"; }
    object peer.json ours_tokens_per_second peer_tokens_per_second ratio ratio_low ratio_high
    ! grep -q 'another model' log.txt || { cat log.txt; die "$mixer: the peer is another model"; }
  done
  "${peer[@]}" --python "$real/bin/python" --steps 1 --rounds 1 --dtype bf16 --json 2>log.txt | grep -q '"dtype":"bf16"' || { cat log.txt; die "bench peer in bf16"; }
else
  echo "not tried beside PyTorch's own models: tools/python_env.sh --transformers makes a Python that has them"
fi

refused "did you mean 'model'?" "$TTT" bench modle tiny.yaml
refused "did you mean 'decode'?" "$TTT" bench decod tiny.yaml
refused "--prompts" "$TTT" bench decode tiny.yaml --prompts 0
refused "did you mean 'peer'?" "$TTT" bench pear attention.yaml
refused "write \`ttt bench model CONFIG\`" "$TTT" bench
refused "did you mean 'ttt_linear'?" "$TTT" bench op ttt_liner
refused "there are ttt_linear, ttt_mlp" "$TTT" bench op frobnicate
refused "did you mean 'naive'?" "$TTT" bench op ttt_linear --heads 2 --head-dim 16 --context 40 --row naiv
refused "did you mean '--context'?" "$TTT" bench model tiny.yaml --contxt 64
refused "--steps" "$TTT" bench model tiny.yaml --steps 0
refused "train.batch_tokens 100 is not a multiple of train.context 64" "$TTT" bench model tiny.yaml --context 64 --batch-tokens 100
refused "unknown key 'model.hiden_size'" "$TTT" bench model tiny.yaml model.hiden_size=3
refused "there is no config file 'absent.yaml'" "$TTT" bench model absent.yaml
echo "ok"
