#!/usr/bin/env bash
# Measures `ttt prepare` against SentencePiece's own speed on one thread, in one run on one machine: repeats the given text up
# to a size (whole copies), prepares it, and prints MB/s, the share reached of (cores x that single thread), and the peak
# of resident memory. The yardstick is measured before and after, and the better of the two counts.
#
# usage: tools/bench_prepare.sh TEXT_FILE...
# environment: SIZE_MB=1000  THREADS=all cores  MODEL=a model of 8192 pieces trained on the text  SEPARATOR=<|endoftext|>
#              SCRATCH=a folder below /tmp with twice the size free
set -euo pipefail
export LC_ALL=C  # some awks read and write numbers as the user's language does: 1,5
[ $# -gt 0 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2; }
root=$(cd "$(dirname "$0")/.." && pwd)
size_mb=${SIZE_MB:-1000}
threads=${THREADS:-$("$root"/tools/cores.sh)}
separator=${SEPARATOR:-<|endoftext|>}
scratch=${SCRATCH:-$(mktemp -d)}
mkdir -p "$scratch"
trap 'rm -rf "$scratch/input.txt" "$scratch/sample.txt" "$scratch/out"; rmdir "$scratch" 2>/dev/null || true' EXIT

"$root"/tools/build.sh ttt_main sentencepiece_speed >/dev/null
ttt=$root/build/ttt
speed=$root/build/tests/sentencepiece_speed

# The text, documents parted by separator lines, as often as it takes.
for file in "$@"; do cat "$file"; printf '\n%s\n' "$separator"; done >"$scratch/sample.txt"
sample=$(stat -c %s "$scratch/sample.txt")
bytes=$((size_mb * 1000000))
for ((done = 0; done < bytes; done += sample)); do cat "$scratch/sample.txt"; done >"$scratch/input.txt"
head -c 8000000 "$scratch/input.txt" | iconv -c -f UTF-8 -t UTF-8 >"$scratch/sample.txt"  # without a character that was cut

model=${MODEL:-$scratch/bench.model}
if [ ! -e "$model" ]; then
  "$ttt" tokenizer train --input "$scratch/sample.txt" --vocab-size 8192 --output "$model" 2>/dev/null >&2
  [ -n "${MODEL:-}" ] || trap 'rm -rf "$scratch/input.txt" "$scratch/sample.txt" "$scratch/out" "$model"; rmdir "$scratch" 2>/dev/null || true' EXIT
fi

single_before=$("$speed" "$model" "$scratch/sample.txt" 1)
together=$("$speed" "$model" "$scratch/sample.txt" "$threads")
rm -rf "$scratch/out"
start=$(date +%s.%N)
"$ttt" prepare --tokenizer "$model" --input "$scratch/input.txt" --separator "$separator" --threads "$threads" --output "$scratch/out" >"$scratch/report.txt" &
prepare=$!
peak=0
while kill -0 "$prepare" 2>/dev/null; do  # the highest resident size so far, as the kernel keeps it
  now=$(awk '/VmHWM/ {print $2}' "/proc/$prepare/status" 2>/dev/null || true)
  [ "${now:-0}" -gt "$peak" ] && peak=$now
  sleep 0.2
done
wait "$prepare"
end=$(date +%s.%N)
single_after=$("$speed" "$model" "$scratch/sample.txt" 1)
cat "$scratch/report.txt"; rm -f "$scratch/report.txt"

awk -v bytes="$(stat -c %s "$scratch/input.txt")" -v s="$start" -v e="$end" -v a="$single_before" -v b="$single_after" -v t="$threads" \
    -v together="$together" -v peak="$peak" 'BEGIN {
  single = a > b ? a : b; rate = bytes / 1e6 / (e - s)
  printf "SentencePiece, 1 thread:   %.2f MB/s before, %.2f MB/s after\n", a, b
  printf "SentencePiece, %d threads:  %.2f MB/s (%.0f %% of %d x 1 thread: what the machine allows)\n", t, together, 100 * together / (t * single), t
  printf "ttt prepare, %d threads:    %.2f MB/s for %.0f MB in %.1f s\n", t, rate, bytes / 1e6, e - s
  printf "share of %d x 1 thread:     %.1f %%\n", t, 100 * rate / (t * single)
  printf "peak resident memory:      %.0f MiB\n", peak / 1024
}'
