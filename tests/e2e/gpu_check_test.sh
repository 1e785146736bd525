#!/usr/bin/env bash
# tools/gpu_check.sh: on the CPU with the program itself; as on a GPU, with a stand-in for the program whose steps fail in every way;
# and with two that use up their minutes.
# Environment: TTT, the binary; SOURCE, the checkout. The working directory is an empty scratch folder.
. "$SOURCE/tests/e2e/check.sh"
gpu_check=$SOURCE/tools/gpu_check.sh

# FOLDER: its report is JSON, with a line a step.
is_json() {
  [ "$(head -c 1 "$1/gpu_check.json")" = '{' ] && [ "$(tail -n 1 "$1/gpu_check.json")" = ']}' ] || die "no JSON in $1"
  if command -v python3 >/dev/null; then python3 -m json.tool "$1/gpu_check.json" >/dev/null || die "$1/gpu_check.json is not JSON"; fi
}
# step FOLDER NAME STATUS [TEXT]: what the report says of a step.
step() {
  local line
  line=$(grep -F "\"step\":\"$2\"" "$1/gpu_check.json") || { cat errors.txt >&2; die "no step $2"; }
  case $line in *"\"status\":\"$3\""*"${4:-}"*) ;; *) die "$2 is not $3, '${4:-}': ${line:0:400}" ;; esac
}

# --- a stand-in for the program on a GPU ---

mkdir -p carried/lib path
cat >carried/ttt <<'STUB'
#!/usr/bin/env bash
# ttt as gpu_check.sh calls it: right but for what is said beside each step.
arguments=" $* "
option() { sed -n "s/.* $1 \([^ ]*\) .*/\1/p" <<<"$arguments"; }
case $arguments in
  *' --version '*) echo "ttt 9.9.9"; echo "revision    0123456789abcdef"; echo "libraries $LD_LIBRARY_PATH" ;;
  *' op --help '*) printf 'The ops:\n  ttt_linear: a\n  rms_norm: b\n  rope: c\n' ;;
  *' op all --check '*)  # the process breaks at the third op
    echo '{"op":"ttt_linear","passed":true,"checks":[{"row":"cuda","error_output":1e-08,"passed":true}]}'
    echo '{"op":"rms_norm","passed":false,"checks":[{"row":"cuda","context":37,"error_output":0.5,"passed":false}]}'
    exit 1
    ;;
  *' op rms_norm --check '*)  # a wrong row
    echo '{"op":"rms_norm","passed":false,"checks":[{"row":"fused","context":37,"error_output":1e-08,"passed":true},{"row":"cuda","context":37,"error_output":0.5,"passed":false}]}'
    exit 1
    ;;
  *' op rope --check '*) echo "error: CUDA error: an illegal memory access" >&2; exit 1 ;;  # no result
  *' --check '*) echo '{"op":"ttt_linear","passed":true,"checks":[{"row":"cuda","error_output":1e-08,"passed":true}]}' ;;
  *' tokenizer '* | *' prepare '*) ;;
  *' train '*)  # TTT-MLP in bf16 goes astray at step 11
    run=$(sed -n 's/.* output_dir=\([^ ]*\) .*/\1/p' <<<"$arguments")
    mkdir -p "$run"
    for i in $(seq 20); do
      loss=$((600 - i))
      case $arguments$i in *ttt_mlp*=bf16*' 11') loss=nan ;; esac
      echo "{\"kind\":\"train\",\"step\":$i,\"loss\":$loss,\"lr\":0.0}"
    done >"$run/metrics.jsonl"
    ;;
  *' bench op '*)
    [ "$3" != selective_scan ] || { echo "error: the GPU's memory is too small" >&2; exit 2; }
    echo "{\"op\":\"$3\",\"batch\":$(option --batch),\"heads\":$(option --heads),\"context\":$(option --context),\"unit\":\"token-head\",\"peak_gflops\":{\"median\":800000.0},\"rows\":[{\"name\":\"cuda\",\"forward_us\":{\"median\":0.001},\"forward_gflops\":1.0,\"error_output\":0.002,\"forward_backward_us\":{\"median\":0.002},\"forward_backward_gflops\":40000.0,\"forward_backward_peak_fraction\":0.05,\"error_gradients\":0.003}],\"left_out\":[\"naive: too large\"]}"
    ;;
  *' bench model '*)
    case $arguments in *mamba_1.3b*) exit 3 ;; esac  # without a word
    echo '{"tokens_per_second":500000.5,"gemm_ceiling_fraction":0.7,"peak_memory_bytes":12000000000,"step_ms":{"median":131.0},"parameters":125000000,"dtype":"bf16","mfu":0.412}'
    ;;
  *' bench decode '*)
    case $arguments in *mamba_125m*) exec sleep 30 ;; esac  # hangs
    echo '{"after":[{"prompt_tokens":512,"state_bytes":2000000,"token_ms":{"median":0.5},"times_first":1.0,"weight_gb_per_second":500.0,"copy_fraction":0.2}]}'
    ;;
  *) echo "error: not known: $*" >&2; exit 2 ;;
esac
STUB
printf '#!/bin/sh\ncase $1 in *driver*) echo 999.1 ;; *) echo "NVIDIA \\"H100\\"" ;; esac\n' >path/nvidia-smi
printf '#!/bin/sh\ncase "$*" in *racecheck*rms*) echo "========= Error: Race reported between Write access"; exit 9 ;; esac\n' >path/compute-sanitizer
cat >path/ncu <<'STUB'
#!/bin/sh
case "$*" in *ttt_mlp*) echo "==ERROR== ERR_NVGPUCTRPERM" >&2; exit 1 ;; esac
echo "  void block_kernel<TttLinearForwardBlock>"
STUB
cat >path/peer <<'STUB'
#!/bin/sh
case "$*" in *llama_peer.py*"--size 1.3b"*) echo "torch.OutOfMemoryError: error" >&2; exit 1 ;; esac
echo '{"tokens_per_second":400000.0,"step_ms":{"median":160.0},"peak_memory_bytes":9000000000,"parameters":110000000,"dtype":"bf16"}'
STUB
touch carried/libz.so.1
chmod +x carried/ttt path/*

# --- within minutes, which pass beside the next sections ---

# right: as carried, and nothing is wrong.
mkdir right
sed 's/"passed":false/"passed":true/g; s/loss=nan ;; esac/;; esac/; s/ rope --check / none --check /' carried/ttt >right/ttt
cat >hurry <<'STUB'
#!/usr/bin/env bash
# Time is over at the first training that is timed.
case " $* " in *' bench model '*) sleep 100 ;; esac
exec "$(dirname "$0")/right/ttt" "$@"
STUB
cat >hang <<'STUB'
#!/usr/bin/env bash
# The check of one op hangs, with the others and alone.
case " $* " in *' op all --check '* | *' op rms_norm --check '*) exec sleep 100 ;; esac
exec "$(dirname "$0")/right/ttt" "$@"
STUB
chmod +x right/ttt hurry hang
# in_background NAME MINUTES: with the stand-in of that name, report in NAME_run; its id: $started
in_background() {
  PATH=$PWD/path:$PATH "$gpu_check" --output "$1_run" --ttt "$1" --minutes "$2" >"$1.txt" 2>"$1.errors" </dev/null &
  started=$!
}
in_background hurry 1
hurrying=$started
in_background hang 0.2
hanging=$started
trap 'kill "$hurrying" "$hanging" 2>/dev/null || true' EXIT
# ends NAME PID CODE
ends() {
  local got=0
  wait "$2" || got=$?
  cp "$1.txt" out.txt
  cp "$1.errors" errors.txt
  [ "$got" -eq "$3" ] || { cat out.txt errors.txt >&2; die "exit code $got instead of $3 of the stand-in $1"; }
}

# --- the program, on the CPU, for somebody who writes 1,5 ---

(use_locale de_DE; expect 0 "$gpu_check" --device cpu --quick --output real --ttt "$TTT")
is_json real
for name in version check_ttt_linear check_adamw losses_ttt_linear_bf16 op_ttt_linear_1x64_2heads train_tiny_attention_64 train_tiny_ttt_linear_64 \
  decode_tiny_ttt_linear; do
  step real "$name" ok
done
step real compute_sanitizer absent "it is for GPUs"
step real op_ttt_linear_1x64_2heads ok '"name":"attention"'
step real train_tiny_ttt_linear_64 ok '"tokens_per_second":'
says real/gpu_check.json '"device":"cpu","quick":true,"passed":true'
cmp -s out.txt real/gpu_check.txt || die "the table is not what was printed"
for text in 'revision ' 'rows and shapes' 'worst difference' 'all checks passed'; do says out.txt "$text"; done
grep -Eq '^ttt_linear +1 x 64 +2 attention +[0-9.]+ +[0-9.]+ +[0-9.]+ [GT]FLOP/s' out.txt || die "no line of attention"
grep -Eq '^tiny_ttt_linear_64 +[0-9.]+ +[0-9]+ +- +[0-9.]+ +[0-9.]+ GB' out.txt || die "no line of training"
grep -Eq '^tiny_ttt_linear +32 +[0-9.]+ +[0-9.]+ MB' out.txt || die "no line of decoding"
[ -s real/logs/train_ttt_linear_fp32_cpu.log ] || [ -e real/logs/train_ttt_linear_fp32_cpu.out ] || die "logs are not kept"
[ ! -e real/work ] || die "the runs are left behind"

# --- as on a GPU ---

PATH=$PWD/path:$PATH LIBTORCH=$PWD/none expect 1 "$gpu_check" --output fake --ttt carried/ttt --limit 10 --peer peer
is_json fake
says fake/logs/version.out "libraries $PWD/carried:$PWD/carried/lib"
step fake check_ttt_linear ok "1 rows and shapes"
step fake check_rms_norm FAILED "1 of 2 are wrong: row cuda, context 37, error output 0.5"
step fake check_rope FAILED "CUDA error: an illegal memory access"
step fake memcheck_ttt_linear_decoding ok
step fake memcheck_rms_norm_cuda ok
step fake racecheck_rms_norm_cuda FAILED "Race reported between Write access"
step fake losses_ttt_linear_fp32 ok "steps 20, worst difference 0"
step fake losses_ttt_mlp_bf16 FAILED "at step 11"
step fake cuda_graph_ttt_linear ok "worst difference 0"
step fake cuda_graph_ttt_mlp FAILED "losses differ from those without the graph"
step fake losses_attention_bf16 ok
step fake cuda_graph_gated_deltanet ok
step fake ncu_ttt_linear ok "1 launches"
step fake ncu_ttt_mlp absent "ERR_NVGPUCTRPERM"
step fake train_125m_peer_llama_2048 ok
step fake train_1.3b_peer_llama_32768 failed "OutOfMemoryError"
[ -e fake/logs/check_rope.log ] && [ ! -e fake/logs/check_ttt_linear.log ] || die "ops that one process has checked are not checked again, others are"
step fake op_ttt_mlp_1x65536_32heads ok
step fake op_selective_scan_32x2048_12heads failed "the GPU's memory is too small"
step fake train_1.3b_mamba_32768 failed "exit code 3"
step fake train_1.3b_ttt_mlp_32768 ok
step fake decode_125m_mamba failed "it took more than 10 s"
step fake decode_1.3b_ttt_mlp ok
# (B, T) and heads; contexts; models.
[ "$(grep -c '"step":"op_' fake/gpu_check.json)" -eq 24 ] || die "the grid of ops is not whole"
[ "$(grep -c '"step":"train_' fake/gpu_check.json)" -eq 30 ] || die "the grid of trainings is not whole"
[ "$(grep -c '"step":"decode_' fake/gpu_check.json)" -eq 8 ] || die "the grid of decoding is not whole"
says fake/gpu_check.json '"passed":false,"gpu":"NVIDIA \"H100\"","driver":"999.1"'
for text in 'NVIDIA "H100"' 'revision    0123456789abcdef' '1.3b_mamba_32768           exit code 3' \
  'CHECKS FAILED: check_rms_norm, check_rope, losses_ttt_mlp_bf16, cuda_graph_ttt_mlp, racecheck_rms_norm_cuda'; do
  says out.txt "$text"
done
# 0.002 us x 65536 tokens x 12 heads; MFU.
grep -Eq '^ttt_linear +1 x 65536 +12 cuda +0.786 +1.57 +40 TFLOP/s +5.0 +2.0e-03 +3.0e-03' out.txt || { cat out.txt; die "no line of TTT-Linear"; }
grep -Eq '^125m_attention_2048 +131 +500000 +41.2 +70.0 +12.00 GB +125.0 M +bf16' out.txt || { cat out.txt; die "no line of training"; }

# Tables for a README.
expect 0 "$gpu_check" --markdown fake/gpu_check.json
says out.txt 'driver 999.1, revision 0123456789ab, '
says out.txt '| 125m_attention_2048 | 500000 | 41 % | 70 % | 12.0 GB |'
says out.txt '| 125m_peer_llama_2048 | 400000 | - | - | 9.0 GB |'
says out.txt '| 1.3b_ttt_mlp, 512 | 0.5 | 2.00 MB | 20 % |'
grep -q '1.3b_mamba_32768' out.txt && die "what failed is in the table"

# --- within minutes: what is left is said, and is no failure; what hangs is one ---

ends hang "$hanging" 1
is_json hang_run
step hang_run check_rms_norm FAILED "the 0.2 minutes were over"
step hang_run check_rope FAILED "the 0.2 minutes were over"
step hang_run train left_out "the 0.2 minutes were over"
says hang_run/gpu_check.json '"passed":false'
says out.txt "check_rms_norm, check_rope"
ends hurry "$hurrying" 0
is_json hurry_run
step hurry_run check_ttt_linear ok
step hurry_run losses_attention_bf16 ok
step hurry_run train_125m_attention_2048 left_out "the 1 minutes were over after"
step hurry_run decode_1.3b_ttt_mlp left_out "the 1 minutes were over"
says out.txt "all checks passed that there was time for; steps left out: "
trap - EXIT

# --- wrong use ---

expect 2 "$gpu_check" --minutes soon
says errors.txt "not 'soon'"
expect 2 "$gpu_check" --peer no-such-python
says errors.txt "there is no program 'no-such-python' for --peer"
expect 2 "$gpu_check" --markdown absent.json
says errors.txt "no report of this script"

expect 2 "$gpu_check" --device tpu
says errors.txt "--device is cpu or cuda, not 'tpu'"
expect 2 "$gpu_check" --ttt absent
says errors.txt "there is no program 'absent'"
expect 2 "$gpu_check" --fast
says errors.txt "unknown option '--fast'"
expect 2 "$gpu_check" --output
says errors.txt "--output needs a value"
expect 2 "$gpu_check" --limit 1h
says errors.txt "not '1h'"
expect 0 "$gpu_check" --help
says out.txt "usage: tools/gpu_check.sh"
echo ok
