#!/usr/bin/env bash
# What the tools take for the size of a machine (tools/cores.sh): the CPU quota and memory limit of control groups count.
# Environment: SOURCE, the checkout; the working directory is an empty scratch folder.
set -euo pipefail

failed() { echo "FAILED: $*" >&2; exit 1; }
cores() { TTT_SYSTEM_ROOT=$PWD/$1 "$SOURCE"/tools/cores.sh "${@:2}"; }
write() { mkdir -p "$(dirname "$1")"; printf '%s\n' "${@:2}" >"$1"; }

here=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)
write free/proc/meminfo 'MemAvailable: 1073741824 kB'
write free/proc/self/mountinfo '30 23 0:28 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw'
write free/proc/self/cgroup '0::/user'
write free/sys/fs/cgroup/user/cpu.max 'max 100000'
[[ $(cores free) == "$here" ]] || failed "without a limit: $(cores free) of $here cores"
[[ $(OMP_NUM_THREADS=1 cores free) == "$here" ]] || failed "OMP_NUM_THREADS is no limit"

cp -r free job
write job/proc/self/cgroup '0::/slurm/job_7/step_0'
write job/sys/fs/cgroup/slurm/job_7/cpu.max '150000 100000'
write job/sys/fs/cgroup/slurm/job_7/step_0/cpu.max 'max 100000'
[[ $(cores job) == 1 ]] || failed "the quota of a group around it: $(cores job)"
write job/sys/fs/cgroup/slurm/job_7/cpu.max '20000 100000'
[[ $(cores job) == 1 ]] || failed "a fifth of a core: $(cores job)"
write job/sys/fs/cgroup/slurm/job_7/cpu.max '100000000 100000'
[[ $(cores job) == "$here" ]] || failed "a quota above the machine: $(cores job)"
[[ $(cores job --memory-gb 4) == "$here" ]] || failed "memory enough: $(cores job --memory-gb 4)"
write job/sys/fs/cgroup/slurm/memory.max 6000000000
write job/sys/fs/cgroup/slurm/memory.current 5000000000
write job/sys/fs/cgroup/slurm/memory.stat 'anon 3000000000' 'inactive_file 1000000000'
[[ $(cores job --memory-gb 4) == 1 ]] || failed "2 GB left at 4 GB each: $(cores job --memory-gb 4)"

mkdir old; cp -r free/proc old/
write old/proc/self/mountinfo '31 23 0:29 /docker/ab /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct' \
  '33 23 0:31 /docker/ab /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory'
write old/proc/self/cgroup '4:memory:/docker/ab' '2:cpu,cpuacct:/docker/ab'
write old/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us 100000
write old/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us 100000
[[ $(cores old) == 1 ]] || failed "version 1: $(cores old)"
write old/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us -1
[[ $(cores old) == "$here" ]] || failed "version 1 without a limit: $(cores old)"
write old/sys/fs/cgroup/memory/memory.limit_in_bytes 3000000000
[[ $(cores old --memory-gb 4) == 1 ]] || failed "memory of version 1: $(cores old --memory-gb 4)"
echo "cores: all well"
