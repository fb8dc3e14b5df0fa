#!/usr/bin/env bash
# Test on several devices: tools/dist_test.sh CONFIG CHECKPOINT DEVICES [options of tools/test.py]
# Without GPUs it runs that many processes on the CPU. NNODES, NODE_RANK, MASTER_ADDR and PORT as for torchrun.
set -euo pipefail
if [ $# -lt 3 ]; then sed -n '2,3s/^# //p' "$0" >&2; exit 2; fi
config=$1 checkpoint=$2 devices=$3
shift 3
here=$(cd "$(dirname "$0")" && pwd)
PYTHONPATH="$here/..${PYTHONPATH:+:$PYTHONPATH}" python -m torch.distributed.run \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" --nproc_per_node="$devices" \
    "$here/test.py" "$config" "$checkpoint" --launcher pytorch "$@"
