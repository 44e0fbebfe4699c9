#!/usr/bin/env bash
# Trains on machines of a Slurm cluster:
#
#     sbatch --nodes 17 scripts/train_slurm.sh car-paper-xl --train.slices 136 --data.batch-size 1632
#
# The arguments are those of `g3pt train`; --resume is added. There is one process for each GPU,
# started by srun alone, so that exit codes arrive here. Ten minutes before the time is over Slurm
# sends SIGUSR1: the run saves a checkpoint and leaves with code 75, and the job goes back into the
# queue. If a process dies or hangs, all are started again on the same machines, up to G3PT_STARTS
# times; if a machine is lost, Slurm itself puts the job back into the queue (--requeue).
#
#SBATCH --job-name=g3pt
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@600
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.log
set -euo pipefail
if (($# == 0)) || [[ -z ${SLURM_JOB_ID:-} ]]; then
  echo "usage: sbatch [FLAGS of sbatch] $0 RECIPE [FLAGS of g3pt train]" >&2
  exit 2
fi
python=${G3PT_PYTHON:-python}
mapfile -t machines < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
export MASTER_ADDR="${machines[0]}" MASTER_PORT="${MASTER_PORT:-$((20000 + SLURM_JOB_ID % 20000))}"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}"
# Each process is told its place by Slurm, under other names.
# shellcheck disable=SC2016
as_rank='export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS; exec "$@"'
trap : TERM USR1 # srun has heard it as well; what follows it must still run
for ((start = 1; start <= ${G3PT_STARTS:-4}; start++)); do
  code=0
  srun --kill-on-bad-exit=1 bash -c "$as_rank" rank \
    "$python" -m g3pt.cli.main train "$@" --resume || code=$?
  case $code in
    0 | 2) exit "$code" ;; # done, or wrong arguments
    75 | 138) # or SIGUSR1 came before the training had begun
      echo "stopped by a signal: job $SLURM_JOB_ID goes back into the queue" >&2
      scontrol requeue "$SLURM_JOB_ID"
      exit 75
      ;;
  esac
  echo "start $start ended with code $code" >&2
done
exit "$code"
