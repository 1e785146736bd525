#!/usr/bin/env bash
# One command on a machine with a GPU, in stages of which each is useful by itself: every kernel row against fp64, short trainings against the CPU's
# losses, training, decoding and ops timed, compute-sanitizer, one pass of ncu. A step that fails is reported and the others still run. Writes
# DIR/gpu_check.json, DIR/gpu_check.txt (the same as a table, also printed) after every stage, and every step's output under DIR/logs.
#
# usage: tools/gpu_check.sh [--device cpu|cuda] [--quick] [--minutes N] [--peer PYTHON] [--output DIR] [--ttt BINARY] [--limit SECONDS]
#        tools/gpu_check.sh --markdown FILE.json      prints tables for a README from a report
#     --device cpu   the same on the CPU at small sizes; with --quick a few ops and tiny models: a test of this script
#     --quick        smaller grids
#     --minutes N    all that fits into N minutes: smaller grids, and what is left when they are over is left out, with a line that says so
#     --peer PYTHON  a Llama of the same size by this Python's PyTorch, compiled, beside the trainings
#     --output DIR   default: runs/gpu_check
#     --ttt BINARY   default: build/ttt. One that was built elsewhere finds the shared libraries that lie beside it or in lib/ there
#     --limit N      seconds that each step may take, instead of its own limit
# environment: LIBTORCH, the folder that holds LibTorch's lib/; default: where the binary was linked, else that of Python's torch
# exit code: 0 when every check passed (a benchmark that fails is a line of the table), 1 when one did not, or when an op hung and
#     the minutes were over before the others were checked; 2 for wrong usage
set -uo pipefail
export LC_ALL=C  # some awks read and write numbers as the user's language does: 1,5
source_dir=$(cd "$(dirname "$0")/.." && pwd)
device=cuda quick='' output=runs/gpu_check ttt=$source_dir/build/ttt limit='' minutes='' peer='' markdown=''
usage_error() { echo "error: $*; see --help" >&2; exit 2; }
while [ $# -gt 0 ]; do
  case $1 in
    --quick) quick=yes; shift; continue ;;
    -h | --help) sed -n '2,17s/^# \{0,1\}//p' "$0"; exit 0 ;;
    --device | --output | --ttt | --limit | --minutes | --peer | --markdown) [ $# -ge 2 ] || usage_error "$1 needs a value" ;;
    *) usage_error "unknown option '$1'" ;;
  esac
  case $1 in
    --device) device=$2 ;;
    --output) output=$2 ;;
    --ttt) ttt=$2 ;;
    --limit) limit=$2 ;;
    --minutes) minutes=$2 ;;
    --peer) peer=$2 ;;
    --markdown) markdown=$2 ;;
  esac
  shift 2
done
case $device in cpu | cuda) ;; *) usage_error "--device is cpu or cuda, not '$device'" ;; esac
case $limit in *[!0-9]* | 0) usage_error "--limit is a number of seconds, not '$limit'" ;; esac
case $minutes in *[!0-9.]* | 0 | . | *.*.*) usage_error "--minutes is a number of minutes, not '$minutes'" ;; esac
if [ -n "$markdown" ]; then
  grep -q '^{"kind":' "$markdown" 2>/dev/null || usage_error "'$markdown' is no report of this script (gpu_check.json)"
else
[ -x "$ttt" ] && [ -f "$ttt" ] || usage_error "there is no program '$ttt'; build it (tools/build.sh) or name it with --ttt"
ttt=$(realpath "$ttt")
[ -z "$peer" ] || command -v "$peer" >/dev/null || usage_error "there is no program '$peer' for --peer"
mkdir -p "$output" || usage_error "'$output' cannot be written"
output=$(realpath "$output")
logs=$output/logs work=$output/work
rm -rf "$logs" "$work"
mkdir -p "$logs" "$work" || usage_error "'$output' cannot be written"
fi

# --- where shared libraries are ---

add_libraries() {  # FOLDER...: those that there are
  local folder
  for folder in "$@"; do
    if [ -d "$folder" ]; then LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder; fi
  done
  export LD_LIBRARY_PATH
}
add_libtorch() { add_libraries "$1/lib" "$1"/../nvidia/*/lib; }  # with the neighbours that CUDA's wheels unpack to
LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}
if compgen -G "$(dirname "$ttt")/*.so*" >/dev/null; then add_libraries "$(dirname "$ttt")"; fi
add_libraries "$(dirname "$ttt")/lib"
if [ -n "${LIBTORCH:-}" ]; then
  add_libtorch "$LIBTORCH"
elif grep -q 'libtorch.*not found' <<<"$(ldd "$ttt" 2>/dev/null)"; then
  found=$(python3 -c 'import os, torch; print(os.path.dirname(torch.__file__))' 2>/dev/null) && add_libtorch "$found"
fi

# --- steps ---

passed=true
steps=()   # JSON objects
check_lines=()
begun=$(date -u +%Y-%m-%dT%H:%M:%SZ)

child='' cut=''
trap 'kill "$child" 2>/dev/null; passed=false; check_lines+=("FAILED  interrupted"); report; exit 130' INT TERM
escaped() { tr -d '\000-\037' <<<"$1" | sed 's/[\\"]/\\&/g'; }

deadline=''
if [ -n "$minutes" ]; then deadline=$((SECONDS + $(awk -v m="$minutes" 'BEGIN { printf "%d", 60 * m }'))); fi
# attempt NAME SECONDS COMMAND...: its output to logs/NAME.out and logs/NAME.log; sets code, seconds, why ("" when it ended well) and cut ("yes" where
# it was the end of --minutes that stopped it, or kept it from starting).
attempt() {
  local name=$1 allowed=${limit:-$2} start=$SECONDS left
  shift 2
  cut=''
  if [ -n "$deadline" ]; then
    left=$((deadline - SECONDS))
    if [ "$left" -lt 2 ]; then
      : >"$logs/$name.out"
      code=125 seconds=0 cut=yes why="the $minutes minutes were over"
      return
    fi
    if [ "$left" -lt "$allowed" ]; then allowed=$left cut=yes; fi
  fi
  printf '%s  %s\n' "$(date +%T)" "$name" >&2
  timeout -k 10 "$allowed" "$@" >"$logs/$name.out" 2>"$logs/$name.log" </dev/null &
  child=$!
  wait "$child"
  code=$?
  seconds=$((SECONDS - start))
  case $code in
    0) why='' ;;
    124 | 137)
      # Where time is left it was not the end of --minutes: something else has killed it.
      if [ -n "$cut" ] && [ $((deadline - SECONDS)) -ge 2 ]; then cut=''; fi
      why="it took more than $allowed s"
      if [ "$code" -eq 137 ] && [ "$seconds" -lt "$allowed" ]; then why="it was killed after $seconds s"; fi
      if [ -n "$cut" ]; then why="the $minutes minutes were over after $seconds s of it"; fi
      return
      ;;
    *)
      why=$({ grep -h 'error' "$logs/$name.log" || tail -n 1 "$logs/$name.log"; } | head -n 1)
      why=${why:-"exit code $code"}
      ;;
  esac
  cut=''
}
result_of() {  # NAME: the JSON object that it printed, or null
  local line
  line=$(head -n 1 "$logs/$1.out" 2>/dev/null)
  case $line in '{'*'}') printf '%s' "$line" ;; *) printf null ;; esac
}
# finish KIND NAME STATUS [TEXT]: keeps a step for the JSON; a check's line for the table. A failure that is the end of --minutes is none.
finish() {
  local kind=$1 name=$2 status=$3 text=${4:-}
  case $status$cut in FAILEDyes | failedyes) status=left_out text=$why ;; esac
  case $status in ok) ;; *) printf '          %s  %s\n' "$status" "${text:0:160}" >&2 ;; esac
  steps+=("{\"kind\":\"$kind\",\"step\":\"$name\",\"status\":\"$status\",\"seconds\":${seconds:-0},\"text\":\"$(escaped "$text")\",\"log\":\"logs/$name.log\",\"result\":$(result_of "$name")}")
  [ "$kind" = check ] || return 0
  check_lines+=("$(printf '%-8s %-34s %6s s  %s' "$status" "$name" "${seconds:-0}" "$text")")
  if [ "$status" = FAILED ]; then passed=false; fi
}
check() {  # NAME SECONDS COMMAND...
  attempt "$@"
  if [ "$code" -eq 0 ]; then finish check "$1" ok; else finish check "$1" FAILED "$why"; fi
}
benchmark() {  # NAME SECONDS COMMAND...
  attempt "$@"
  if [ "$code" -eq 0 ]; then finish benchmark "$1" ok; else finish benchmark "$1" failed "$why"; fi
}

# --- the reports ---

# awk reads the numbers of an object by their keys, which `ttt` writes in a fixed order.
reading='    function text(object, key,   found) {
      if (!match(object, "\"" key "\":\"[^\"]*\"")) return "-"
      found = substr(object, RSTART + length(key) + 4, RLENGTH - length(key) - 5)
      return found
    }
    function value(object, key) {
      if (!match(object, "\"" key "\":[-+0-9.e]+")) return ""
      return substr(object, RSTART + length(key) + 3, RLENGTH - length(key) - 3) + 0
    }
    function inner(object, key) {  # the object that stands under the key, from there on
      if (!match(object, "\"" key "\":[{]")) return ""
      return substr(object, RSTART + RLENGTH - 1)
    }
    function median(object, key) { return value(inner(object, key), "median") }
    function digits(number) { return number == "" ? "-" : sprintf(number < 100 ? "%.3g" : "%.0f", number) }
    function share(fraction) { return fraction == "" ? "-" : sprintf("%.0f %%", 100 * fraction) }
    function percent(fraction) { return fraction == "" ? "-" : sprintf("%.1f", 100 * fraction) }'
# Lines of a table from the steps' objects.
table() {  # NAME_PREFIX
  printf '%s\n' "${steps[@]}" | grep "^{\"kind\":\"benchmark\",\"step\":\"$1_" | awk -v what="$1" "$reading"'
    BEGIN {
      if (what == "op") printf "%-15s %-10s %5s %-14s %11s %11s %12s %9s %9s %9s\n", "op", "B x T", "heads", "row", "fwd ms", "fwd+bwd ms", "rate", "of limit%", "error O", "grads"
      if (what == "train") printf "%-26s %9s %12s %7s %10s %12s %10s %9s\n", "model, context", "step ms", "tokens/s", "MFU %", "of GEMM %", "peak memory", "parameters", "dtype"
      if (what == "decode") printf "%-26s %9s %12s %12s %14s %9s %9s\n", "model", "prompt", "ms a token", "state", "weights GB/s", "of copy%", "x first"
    }
    {
      name = text($0, "step")
      if (text($0, "status") != "ok") { printf "%-26s %s\n", substr(name, length(what) + 2), text($0, "text"); next }
      result = inner($0, "result")
      if (what == "op") {
        units = value(result, "batch") * value(result, "context") * (text(result, "unit") == "token-head" ? value(result, "heads") : 1)
        rate = result ~ /"peak_gflops"/ ? "gflops" : "gb_per_second"
        count = split(result, rows, "[{]\"name\":")
        for (i = 2; i <= count; ++i) {
          row = "\"name\":" rows[i]
          forward = median(row, "forward_us"); whole = median(row, "forward_backward_us")
          speed = value(row, "forward_backward_" rate)
          printf "%-15s %-10s %5s %-14s %11s %11s %12s %9s %9s %9s\n", text(result, "op"), value(result, "batch") " x " value(result, "context"),
            value(result, "heads"), text(row, "name"), digits(forward * units / 1e3), whole == "" ? "-" : digits(whole * units / 1e3),
            speed == "" ? "-" : (rate != "gflops" ? digits(speed) " GB/s" : (speed < 1000 ? digits(speed) " GFLOP/s" : digits(speed / 1e3) " TFLOP/s")),
            percent(value(row, "forward_backward_peak_fraction")), sprintf("%.1e", value(row, "error_output")), sprintf("%.1e", value(row, "error_gradients"))
        }
        if (match(result, /"left_out":\[[^]]*/)) {
          left = substr(result, RSTART + 12, RLENGTH - 12)
          gsub(/","/, "; ", left); gsub(/"/, "", left)
          if (left != "") printf "  left out: %s\n", left
        }
      }
      if (what == "train")
        printf "%-26s %9s %12s %7s %10s %12s %10s %9s\n", substr(name, 7), digits(median(result, "step_ms")), digits(value(result, "tokens_per_second")),
          percent(value(result, "mfu")), percent(value(result, "gemm_ceiling_fraction")), sprintf("%.2f GB", value(result, "peak_memory_bytes") / 1e9),
          sprintf("%.1f M", value(result, "parameters") / 1e6), text(result, "dtype")
      if (what == "decode") {
        count = split(result, after, "[{]\"prompt_tokens\":")
        for (i = 2; i <= count; ++i) {
          one = "\"prompt_tokens\":" after[i]
          printf "%-26s %9s %12s %12s %14s %9s %9s\n", substr(name, 8), value(one, "prompt_tokens"), digits(median(one, "token_ms")),
            sprintf("%.2f MB", value(one, "state_bytes") / 1e6), digits(value(one, "weight_gb_per_second")), percent(value(one, "copy_fraction")),
            digits(value(one, "times_first"))
        }
      }
    }'
}
# Of a report: what was trained and decoded, for a README.
print_markdown() {  # FILE.json
  head -n 1 "$1" | awk "$reading"'{ printf "%s, driver %s, revision %.12s, %s\n\n", text($0, "gpu") == "" ? "a CPU" : text($0, "gpu"), text($0, "driver"), text($0, "revision"), text($0, "begun") }'
  grep -F '"status":"ok"' "$1" | grep '^{"kind":"benchmark","step":"train_' | awk "$reading"'
    NR == 1 { print "| model, context | tokens/s | MFU | of the GEMM ceiling | peak memory |"; print "|---|---|---|---|---|" }
    {
      result = inner($0, "result")
      printf "| %s | %s | %s | %s | %.1f GB |\n", substr(text($0, "step"), 7), digits(value(result, "tokens_per_second")), share(value(result, "mfu")),
        share(value(result, "gemm_ceiling_fraction")), value(result, "peak_memory_bytes") / 1e9
    }
    END { if (NR) print "" }'
  grep -F '"status":"ok"' "$1" | grep '^{"kind":"benchmark","step":"decode_' | awk "$reading"'
    NR == 1 { print "| decoding, tokens before | ms a token | state | of a copy |"; print "|---|---|---|---|" }
    {
      count = split(inner($0, "result"), after, "[{]\"prompt_tokens\":")
      for (i = 2; i <= count; ++i) {
        one = "\"prompt_tokens\":" after[i]
        printf "| %s, %s | %s | %.2f MB | %s |\n", substr(text($0, "step"), 8), value(one, "prompt_tokens"), digits(median(one, "token_ms")),
          value(one, "state_bytes") / 1e6, share(value(one, "copy_fraction"))
      }
    }'
}
# Of the steps so far.
report() {
  local gpu='' driver='' version revision i
  version=$(cat "$logs/version.out" 2>/dev/null)
  if [ "$device" = cuda ]; then
    gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1)
    driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | head -n 1)
  fi
  revision=$(sed -n 's/^revision *//p' <<<"$version")
  {
    printf '{"device":"%s","quick":%s,"passed":%s,"gpu":"%s","driver":"%s","begun":"%s","seconds":%d,"version":"%s","revision":"%s","steps":[\n' \
      "$device" "$([ -n "$quick" ] && echo true || echo false)" "$passed" "$(escaped "$gpu")" "$(escaped "$driver")" "$begun" "$SECONDS" \
      "$(escaped "$(head -n 1 <<<"$version")")" "$(escaped "$revision")"
    for i in "${!steps[@]}"; do printf '%s%s\n' "${steps[$i]}" "$([ "$i" -eq $((${#steps[@]} - 1)) ] || echo ,)"; done
    echo ']}'
  } >"$output/gpu_check.json"
  {
    echo "ttt.cpp on $([ "$device" = cpu ] && echo "a CPU" || echo "${gpu:-an unknown GPU}")"
    if [ "$device" = cuda ]; then echo "driver    ${driver:-unknown}"; fi
    echo "$version" | sed '1s/^/program   /'
    echo "begun     $begun, took $SECONDS s"
    printf '\nChecks\n'
    printf '%s\n' "${check_lines[@]}"
    printf '\nOps, %s; of limit: of an at::mm or a copy in the same process; errors against fp64\n' "$dtype"
    table op
    printf '\nTraining steps; of GEMM: of the step'\''s dense products as plain at::mm in the same process\n'
    table train
    printf '\nDecoding; of copy: of a large copy in the same process\n'
    table decode
    echo
    left_out=$(printf '%s\n' "${steps[@]}" | grep -c '"status":"left_out"')
    if [ "$passed" = true ]; then echo "all checks passed$([ "$left_out" -eq 0 ] || echo " that there was time for; steps left out: $left_out")"; else echo "CHECKS FAILED: $(printf '%s\n' "${check_lines[@]}" | awk '$1 == "FAILED" { printf "%s%s", seen++ ? ", " : "", $2 }')"; fi
  } >"$output/gpu_check.txt"
}

if [ -n "$markdown" ]; then
  print_markdown "$markdown"
  exit 0
fi

# --- sizes ---

threads=()
mixers=(attention mamba ttt_linear ttt_mlp) kernel_ops=(ttt_linear ttt_mlp selective_scan)
loss_mixers=(ttt_linear ttt_mlp attention mamba gated_deltanet)
steps_timed=5 repeats=5 decode_repeats=5 decode_tokens=64 dtype=bf16
model_config() { echo "$source_dir/configs/model/${1}_$2.yaml"; }  # MIXER SIZE
sanitizer_tools=(memcheck racecheck synccheck)
case $device$quick in
  cuda) op_shapes=('32 2048' '8 8192' '2 32768' '1 65536') op_heads=(12 32) sizes=(125m 1.3b) contexts=(2048 8192 32768) prompts=512,32768 ;;
  cudayes) op_shapes=('4 2048' '1 8192') op_heads=(12) sizes=(125m) contexts=(2048) prompts=512,4096 ;;
  cpu)
    op_shapes=('4 512' '1 2048') op_heads=(12) sizes=(125m) contexts=(512 2048) prompts=512,2048
    steps_timed=1 repeats=2 decode_repeats=2 decode_tokens=16
    ;;
  cpuyes)
    op_shapes=('2 32' '1 64') op_heads=(2) sizes=(tiny) contexts=(64) prompts=16,32
    mixers=(attention ttt_linear) loss_mixers=(ttt_linear attention) kernel_ops=(ttt_linear)
    steps_timed=1 repeats=1 decode_repeats=1 decode_tokens=4 dtype=fp32
    threads=(--threads 1)
    model_config() { echo "$source_dir/configs/model/ttt_linear_tiny.yaml model.mixer=$1"; }
    ;;
esac
if [ -n "$minutes" ] && [ "$device$quick" = cuda ]; then
  op_shapes=('8 2048' '1 32768') op_heads=(12) contexts=(2048 32768) steps_timed=3 repeats=3 decode_repeats=3 sanitizer_tools=(memcheck racecheck)
fi

# --- checks ---

stage_ops() {
  check version 60 "$ttt" --version
  if [ "$code" -ne 0 ]; then ldd "$ttt" 2>&1 | grep 'not found' | tee -a "$logs/version.log" >&2; fi

  # As its help lists them.
  mapfile -t ops < <("$ttt" bench op --help 2>/dev/null | sed -n 's/^  \([a-z_]*\): .*/\1/p')
  if [ "$device$quick" = cpuyes ] && [ ${#ops[@]} -gt 0 ]; then ops=(ttt_linear rms_norm adamw); fi
  if [ ${#ops[@]} -eq 0 ]; then
    seconds=0
    finish check op_checks FAILED "\`ttt bench op --help\` lists no op"
  fi
  # In one process, which says an op when it is done; what that one did not get to, or found wrong, by itself. It gets a third of
  # the minutes: an op that hangs must not take those of the others.
  most=900 hung=''
  if [ -n "$deadline" ] && [ $(((deadline - SECONDS) / 3)) -lt "$most" ]; then most=$(((deadline - SECONDS) / 3 + 1)); fi
  if [ "$device$quick" != cpuyes ]; then
    attempt check_all "$most" "$ttt" bench op all --check --json --device "$device" "${threads[@]}"
    case $code in 124 | 137) hung=yes ;; esac
  fi
  for op in "${ops[@]}"; do
    if grep -F "{\"op\":\"$op\"," "$logs/check_all.out" >"$logs/check_$op.out" 2>/dev/null && ! grep -q '"passed":false' "$logs/check_$op.out"; then
      cut='' seconds=0
      finish check "check_$op" ok "$(grep -o '"error_output":' "$logs/check_$op.out" | wc -l) rows and shapes"
      continue
    fi
    attempt "check_$op" 900 "$ttt" bench op "$op" --check --json --device "$device" "${threads[@]}"
    checked=$(grep -o '"error_output":' "$logs/check_$op.out" | wc -l)
    wrong=$(grep -o '{"row":[^{}]*"passed":false[^{}]*}' "$logs/check_$op.out")
    # Wrong rows are wrong, and what may be the op that hangs is not right, even where the minutes were over.
    if [ -n "$wrong$hung" ]; then cut=''; fi
    if [ "$code" -eq 0 ]; then
      finish check "check_$op" ok "$checked rows and shapes"
    elif [ -n "$wrong" ]; then
      finish check "check_$op" FAILED "$(wc -l <<<"$wrong") of $checked are wrong: $(head -n 1 <<<"$wrong" | tr -d '{}"' | sed 's/,/, /g; s/:/ /g; s/_/ /g')"
    else
      finish check "check_$op" FAILED "$why"
    fi
  done
}

# Losses of a short training, step by step. A loss is the mean of 1024, in which roundings average out: in these runs two rows of the CPU differ by
# 1e-7 in fp32, and bf16 by 3e-5 from fp32, while an inner learning rate that is 10 % off shows as 8e-5 (TTT-Linear) and 4e-3 (TTT-MLP), and an outer
# one 2 % off as 5e-3. CUDA's kernels in fp32 multiply 16 bits of each operand, 2^-17; those in bf16 also keep more in bf16 than the CPU's.
train_steps=20
tolerance_of() { case $1 in fp32) echo 1e-4 ;; bf16) echo 1e-3 ;; esac; }
losses_of() { sed -n 's/.*"kind":"train".*"step":\([0-9]*\),.*"loss":\([^,}]*\).*/\1 \2/p' "$1/metrics.jsonl" 2>/dev/null; }  # RUN
# compare_losses A B TOLERANCE: prints a JSON object; exit code 1 when a step's losses differ by more, or there are too few of them.
compare_losses() {
  { losses_of "$1" | sed 's/^/a /'; losses_of "$2" | sed 's/^/b /'; } | awk -v wanted="$train_steps" -v tolerance="$3" '
    $1 == "a" { a[$2] = $3 }
    $1 == "b" && ($2 in a) {
      ++count
      last = $3
      difference = ($3 ~ /^[-+0-9.e]+$/ && a[$2] ~ /^[-+0-9.e]+$/ && a[$2] != 0) ? ($3 - a[$2]) / a[$2] : 1
      if (difference < 0) difference = -difference
      if (difference >= worst) { worst = difference; step = $2 }
    }
    END {
      fits = count == wanted && worst <= tolerance
      printf "{\"steps\":%d,\"worst_difference\":%.2g,\"at_step\":%d,\"tolerance\":%g,\"last_loss\":\"%.5g\"}\n", count, worst, step, tolerance, last
      exit !fits
    }'
}
train_on() {  # DEVICE MIXER DTYPE [SETTING...]: the run work/MIXER_DTYPE_DEVICE, or work/MIXER_DTYPE_DEVICE_with with settings
  local run=$2_$3_$1${4:+_with} backbone=()
  case $2 in ttt_*) backbone=(model.backbone=mamba) ;; esac
  attempt "train_$run" 600 "$ttt" train "$work/run.yaml" --quiet model.mixer="$2" "${backbone[@]}" train.dtype="$3" train.device="$1" "${@:4}" "output_dir=$work/$run"
}
compare_runs() {  # NAME RUN_A RUN_B TOLERANCE WHAT
  compare_losses "$work/$2" "$work/$3" "$4" >"$logs/$1.out" 2>"$logs/$1.log"
  code=$?
  text=$(sed 's/[{}"]//g; s/,/, /g; s/_/ /g; s/:/ /g' "$logs/$1.out")
  if [ "$code" -eq 0 ]; then finish check "$1" ok "$text"; else finish check "$1" FAILED "losses differ from those $5: $text"; fi
}
stage_losses() {
  cat >"$work/run.yaml" <<YAML
model: {mixer: ttt_linear, vocab_size: 512, hidden_size: 128, num_layers: 2, num_heads: 2, intermediate_size: 256}
data: {train: $work/data}
train: {context: 128, batch_tokens: 1024, steps: $train_steps, seed: 1, tensorboard: false, stats_every: 0, threads: ${threads[1]:-0}}
optim: {lr: 0.002, warmup_steps: 5}
output_dir: $work/run
YAML
  attempt train_tokenizer 120 "$ttt" tokenizer train --input "$source_dir/src/base" --output "$work/t.model" --vocab-size 512
  [ "$code" -eq 0 ] && attempt train_prepare 120 "$ttt" prepare --input "$source_dir/src/base" --tokenizer "$work/t.model" --output "$work/data"
  if [ "$code" -ne 0 ]; then
    finish check train FAILED "its data could not be prepared: $why"
  else
    for mixer in "${loss_mixers[@]}"; do
      train_on cpu "$mixer" fp32
      if [ "$code" -ne 0 ]; then finish check "train_$mixer" FAILED "on the CPU: $why"; continue; fi
      for kind in fp32 bf16; do
        # On the CPU alone fp32 would be compared with itself. Where minutes count, bf16 tells of mixers without an inner loop.
        case $device$kind$mixer in cpufp32*) continue ;; cudafp32ttt_*) ;; cudafp32*) [ -z "$minutes" ] || continue ;; esac
        train_on "$device" "$mixer" "$kind"
        name=losses_${mixer}_$kind
        if [ "$code" -ne 0 ]; then finish check "$name" FAILED "the training: $why"; continue; fi
        compare_runs "$name" "${mixer}_fp32_cpu" "${mixer}_${kind}_$device" "$(tolerance_of "$kind")" "of the CPU"
      done
      # A CUDA graph does what its kernels do one by one.
      if [ "$device" = cpu ]; then continue; fi
      train_on "$device" "$mixer" bf16 train.cuda_graph=true
      name=cuda_graph_$mixer
      if [ "$code" -ne 0 ]; then finish check "$name" FAILED "the training: $why"; continue; fi
      compare_runs "$name" "${mixer}_bf16_$device" "${mixer}_bf16_${device}_with" 1e-6 "without the graph"
    done
  fi
}

stage_sanitizer() {
  if [ "$device" = cpu ]; then
    seconds=0
    finish check compute_sanitizer absent "it is for GPUs"
  elif ! command -v compute-sanitizer >/dev/null; then
    seconds=0
    finish check compute_sanitizer absent "there is no compute-sanitizer on this machine's PATH"
  else
    export PYTORCH_NO_CUDA_MEMORY_CACHING=1  # else an access beyond a tensor stays inside LibTorch's block
    for tool in "${sanitizer_tools[@]}"; do
      for op in "${ops[@]}"; do
        if [ -n "$minutes" ]; then case $op in ttt_*) ;; *) continue ;; esac; fi
        # The rows that are this project's kernels.
        case $op in ttt_*) rows=(cuda decoding) ;; attention | linear) rows=() ;; *) rows=(cuda) ;; esac
        for row in "${rows[@]}"; do
          name=${tool}_${op}_$row
          attempt "$name" 1200 compute-sanitizer --tool "$tool" --error-exitcode 9 "$ttt" bench op "$op" --check --row "$row" --device cuda
          if [ "$code" -eq 0 ]; then finish check "$name" ok; continue; fi
          # Its report is on standard output.
          finish check "$name" FAILED "$(grep -m 1 -E '^========= (Invalid|Error|Race|Program|.*[Hh]azard)|^WRONG' "$logs/$name.out" || echo "$why")"
        done
      done
    done
    unset PYTORCH_NO_CUDA_MEMORY_CACHING
  fi
}

# --- benchmarks ---

stage_op_grid() {
  for op in "${kernel_ops[@]}"; do
    beside=()
    case $op in ttt_*) beside=(--attention) ;; esac
    for heads in "${op_heads[@]}"; do
      for shape in "${op_shapes[@]}"; do
        read -r batch context <<<"$shape"
        benchmark "op_${op}_${batch}x${context}_${heads}heads" 600 "$ttt" bench op "$op" --json --device "$device" --dtype "$dtype" "${beside[@]}" \
          --batch "$batch" --context "$context" --heads "$heads" --repeats "$repeats" "${threads[@]}"
      done
    done
  done
}

# The tokens that are taken at once: as many as keep a GPU busy and leave 80 GB room; at 32k tokens of 1.3B only with recomputation.
train_benchmark() {  # SIZE MIXER CONTEXT
  local size=$1 mixer=$2 context=$3 taken step_tokens together tokens settings config
  case $size in 1.3b) taken=8192 step_tokens=32768 ;; 125m) taken=16384 step_tokens=65536 ;; *) taken=64 step_tokens=128 ;; esac
  if [ "$device" = cpu ]; then taken=1 step_tokens=1; fi
  together=$((taken > context ? taken / context : 1))
  tokens=$((step_tokens > context ? step_tokens : context))
  settings=(--context "$context" --batch-tokens "$tokens" --steps "$steps_timed" train.micro_batch="$together")
  if [ "$size" = 1.3b ] && [ "$context" -ge 32768 ]; then settings+=(train.recompute=true); fi
  read -ra config <<<"$(model_config "$mixer" "$size")"
  benchmark "train_${size}_${mixer}_$context" 900 "$ttt" bench model "${config[@]}" "${settings[@]}" --json --device "$device" --dtype "$dtype" \
    "${threads[@]}"
  if [ -n "$peer" ] && [ "$mixer" = attention ]; then
    benchmark "train_${size}_peer_llama_$context" 900 "$peer" "$source_dir/tests/python/llama_peer.py" --size "$size" --context "$context" \
      --sequences "$together" --steps "$steps_timed" --device "$device" --dtype "$dtype"
  fi
}
stage_training() {
  local size context mixer
  for size in "${sizes[@]}"; do
    for context in "${contexts[@]}"; do
      for mixer in "${mixers[@]}"; do train_benchmark "$size" "$mixer" "$context"; done
    done
  done
}
stage_decoding() {
  local size mixer config
  for size in "${sizes[@]}"; do
    for mixer in "${mixers[@]}"; do
      read -ra config <<<"$(model_config "$mixer" "$size")"
      benchmark "decode_${size}_$mixer" 900 "$ttt" bench decode "${config[@]}" --json --device "$device" --dtype "$dtype" --prompts "$prompts" \
        --tokens "$decode_tokens" --repeats "$decode_repeats" "${threads[@]}"
    done
  done
}

# How busy the units of a multiprocessor are in the TTT ops' kernels, each once; logs/ncu_OP.out is ncu's own table.
stage_ncu() {
  local op
  if [ "$device" = cpu ] || ! command -v ncu >/dev/null; then
    seconds=0 cut=''
    finish check ncu absent "$([ "$device" = cpu ] && echo "it is for GPUs" || echo "there is no ncu on this machine's PATH")"
    return
  fi
  for op in ttt_linear ttt_mlp; do
    attempt "ncu_$op" 300 ncu --set basic --kernel-name regex:block_kernel --launch-count 8 "$ttt" bench op "$op" --row cuda --device cuda --dtype bf16 \
      --batch 8 --context 2048 --heads 12 --repeats 1
    # Counters are often for root alone (ERR_NVGPUCTRPERM): then there is nothing to read, and nothing is wrong.
    if [ "$code" -eq 0 ]; then finish check "ncu_$op" ok "$(grep -c 'block_kernel' "$logs/ncu_$op.out") launches"; else finish check "ncu_$op" "$([ -n "$cut" ] && echo left_out || echo absent)" "$why"; fi
  done
}

# The most useful first.
for stage in ops losses training decoding op_grid sanitizer ncu; do
  "stage_$stage"
  report
done
rm -rf "$work"
cat "$output/gpu_check.txt"
[ "$passed" = true ]
