#!/usr/bin/env bash
# A training on two machines (or more) with nothing but ssh: the same checkout and data at the same path on each, an output folder that all
# of them see. The first machine holds rank 0; its port must be open to the others.
#
# usage: tools/cluster/two_nodes.sh "NODE0 NODE1 ..." RANKS_PER_NODE CONFIG.yaml [key=value ...]
# environment: PORT (default 29500), MAX_RESTARTS (default 3), SSH (default ssh): how a command is run on a node
#
# Ctrl-C or SIGTERM closes the connections: the launchers take that as a request to save and to end. Exit code: the first one of a launcher
# that is not 0; 75 means saved, run it again.
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,/^set/p' "$0" | sed '$d; s/^# \{0,1\}//' >&2; exit 2; }
read -ra nodes <<<"$1"
ranks=$2
shift 2
folder=$(cd "$(dirname "$0")/../.." && pwd)

pids=()
told=false
trap 'told=true; kill -TERM "${pids[@]}" 2>/dev/null || true' TERM INT
for i in "${!nodes[@]}"; do
  command=(build/ttt launch -n "$ranks" --nnodes "${#nodes[@]}" --node-rank "$i" --master-addr "${nodes[0]}" --master-port "${PORT:-29500}"
           --max-restarts "${MAX_RESTARTS:-3}" -- train "$@")
  # exec and -tt: the launcher itself gets SIGHUP when the connection is closed.
  ${SSH:-ssh -tt} "${nodes[$i]}" "cd $(printf '%q' "$folder") && exec $(printf '%q ' "${command[@]}")" &
  pids+=($!)
done

result=0
for pid in "${pids[@]}"; do
  code=0
  wait "$pid" || code=$?
  while kill -0 "$pid" 2>/dev/null; do code=0; wait "$pid" || code=$?; done  # a signal to this script ended the wait
  [ "$result" -ne 0 ] || result=$code
done
if $told; then echo "the ranks were told to save and to end; run this again" >&2; exit 75; fi
exit "$result"
