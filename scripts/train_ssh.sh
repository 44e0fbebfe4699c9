#!/usr/bin/env bash
# Trains on machines that ssh reaches without a password:
#
#     scripts/train_ssh.sh HOSTS car-paper --train.slices 32
#
# HOSTS is a file with the name or address of a machine in each line; the first one must live as
# long as the run. All of them see this folder under the same path, and one another under these
# names. The other arguments are those of `g3pt train`; --resume is added. A machine whose launcher
# fails is started again every G3PT_PAUSE seconds, G3PT_STARTS times in all; the others wait for it,
# or go on without it if G3PT_NODES has a range, as in G3PT_NODES=1:2. SIGTERM or Ctrl-C lets the
# run save a checkpoint on all machines and ends with code 75; the same command goes on.
#
# Also read from the environment: G3PT_PYTHON (python), G3PT_PROCESSES for each machine (gpu: as many
# as it has GPUs), G3PT_PORT (29400).
set -euo pipefail
if (($# < 2)) || [[ ! -f $1 ]]; then
  echo "usage: $0 HOSTS RECIPE [FLAGS of g3pt train]; HOSTS is a file with one machine a line" >&2
  exit 2
fi
mapfile -t hosts < <(sed 's/#.*//; s/[[:space:]]//g; /^$/d' "$1")
if ((${#hosts[@]} == 0)); then
  echo "$1: names no machine" >&2
  exit 2
fi
arguments=("${@:2}")
nodes=${G3PT_NODES:-${#hosts[@]}}
asked_to_stop=

launch() { # one machine, until its launcher leaves
  local host=$1 is_host=0 command
  if [[ $host == "${hosts[0]}" ]]; then is_host=1; fi
  # A launcher that is started later cannot join with a shared store (pytorch issue 135712).
  # Without -- torchrun would take --run for an abbreviation of a flag of its own.
  command=$(printf '%q ' env TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 "${G3PT_PYTHON:-python}" \
    -m torch.distributed.run --nnodes "$nodes" --nproc-per-node "${G3PT_PROCESSES:-gpu}" \
    --max-restarts 3 --rdzv-backend c10d --rdzv-endpoint "${hosts[0]}:${G3PT_PORT:-29400}" \
    --rdzv-conf "is_host=$is_host" --local-addr "$host" \
    --module -- g3pt.cli.main train "${arguments[@]}" --resume)
  # shellcheck disable=SC2029 # it is put together here
  ssh -o BatchMode=yes -o ServerAliveInterval=15 "$host" \
    "cd $(printf %q "$PWD") && echo \$\$ > $(printf %q ".g3pt-$host.pid") && exec $command"
}

keep() { # start a machine again until it is done
  local start
  trap 'asked_to_stop=1' TERM INT
  for ((start = 1; start <= ${G3PT_STARTS:-3}; start++)); do
    if launch "$1"; then return 0; fi
    if [[ $asked_to_stop ]]; then return 75; fi
    echo "$1: start $start has failed" >&2
    sleep "${G3PT_PAUSE:-10}"
  done
  return 1
}

# shellcheck disable=SC2329 # called by a trap
stop() { # the launchers pass it on to the processes, which save
  local number
  asked_to_stop=1
  for number in "${!hosts[@]}"; do
    kill -TERM "${keepers[number]}" 2>/dev/null || true
    # shellcheck disable=SC2029
    ssh -o BatchMode=yes "${hosts[number]}" \
      "cd $(printf %q "$PWD") && kill -TERM \$(cat $(printf %q ".g3pt-${hosts[number]}.pid"))" || true
  done
}

keepers=()
for host in "${hosts[@]}"; do
  keep "$host" &
  keepers+=($!)
done
trap stop TERM INT
code=0
for keeper in "${keepers[@]}"; do
  # A signal ends `wait` early; the machine is then waited for again.
  while kill -0 "$keeper" 2>/dev/null; do wait "$keeper" || true; done
done
wait "${keepers[0]}" || code=$? # the run is done if the first machine says so
for host in "${hosts[@]}"; do rm -f ".g3pt-$host.pid"; done
if [[ $asked_to_stop ]] && ((code != 0)); then exit 75; fi
exit "$code"
