#!/usr/bin/env bash
# Prints how many jobs can run at once here: the cores that this process may run on, but no more than its control groups
# (a container's or a batch job's CPU quota, version 2 or 1) allow. usage: tools/cores.sh [--memory-gb N]
#     --memory-gb N    and no more than there is memory for, at N GB each, one at least
set -euo pipefail
root=${TTT_SYSTEM_ROOT:-}  # tests: another machine's /proc and /sys
memory_gb=0
[ "${1:-}" != --memory-gb ] || memory_gb=$2

least() { if [ -z "$1" ] || [ "$2" -lt "$1" ]; then echo "$2"; else echo "$1"; fi; }  # A B, of which A may be empty
number() { local text=; read -r text 2>/dev/null <"$1" || true; [[ $text =~ ^[0-9]+$ ]] && echo "$text" || echo 0; }

# folders CONTROLLER: of this process's group and of those around it; CONTROLLER empty: version 2.
folders() {
  local controller=$1 top mount type options group path
  while read -r _ _ _ top mount rest; do
    read -r type _ options <<<"${rest##* - }"
    if [ -z "$controller" ]; then [ "$type" = cgroup2 ] || continue; fi
    if [ -n "$controller" ]; then [[ $type = cgroup && ,$options, == *,$controller,* ]] || continue; fi
    group=/
    while IFS=: read -r _ names path; do
      if [ "$names" = "$controller" ] || { [ -n "$controller" ] && [[ ,$names, == *,$controller,* ]]; }; then group=$path; fi
    done <"$root/proc/self/cgroup"
    top=${top%/}
    case $group in "$top"/*) group=${group#"$top"} ;; *) group= ;; esac
    case $group in */..*) group= ;; esac
    while [ -n "${group%/}" ]; do echo "$root$mount$group"; group=${group%/*}; done
    echo "$root$mount"
    return
  done <"$root/proc/self/mountinfo"
}

cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)  # nproc goes by these variables
free=$(awk '/MemAvailable/ {printf "%.0f", $2 * 1024}' "$root/proc/meminfo" 2>/dev/null || true)
limit() { local quota=$1 period=$2; [ "$quota" -eq 0 ] || [ "$period" -eq 0 ] || cores=$(least "$cores" $((quota / period > 0 ? quota / period : 1))); }
limit_memory() {  # BYTES IN_USE
  if [ "$1" -gt 0 ] && [ "$1" -lt $((1 << 60)) ]; then free=$(least "$free" $(($1 > $2 ? $1 - $2 : 0))); fi
}
cached() { awk -v name="$2" '$1 == name {n = $2} END {printf "%.0f", n}' "$1/memory.stat" 2>/dev/null || echo 0; }  # FOLDER NAME
for group in $(folders ""); do
  if read -r quota period 2>/dev/null <"$group/cpu.max" && [ "$quota" != max ]; then limit "$quota" "$period"; fi
  limit_memory "$(number "$group/memory.max")" $(($(number "$group/memory.current") - $(cached "$group" inactive_file)))
done
for group in $(folders cpu); do limit "$(number "$group/cpu.cfs_quota_us")" "$(number "$group/cpu.cfs_period_us")"; done
for group in $(folders memory); do
  limit_memory "$(number "$group/memory.limit_in_bytes")" $(($(number "$group/memory.usage_in_bytes") - $(cached "$group" total_inactive_file)))
done
if [ "$memory_gb" -gt 0 ] && [ -n "$free" ]; then cores=$(least "$cores" $((free / (memory_gb << 30) + 1))); fi
echo "$cores"
