#!/usr/bin/env bash
# sbatch docs/scale/slurm.sh train_modpo --primary empathy ... : one torchrun a node, a process a GPU.
#SBATCH --job-name=attune
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
set -euo pipefail
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# Before the time is up, queue again: the run goes on from its last checkpoint, and counts as stopped after ten minutes.
trap 'scontrol requeue "$SLURM_JOB_ID" && scontrol update JobId="$SLURM_JOB_ID" StartTime=now+11minutes' TERM
srun .venv/bin/torchrun --nnodes "$SLURM_NNODES" --nproc-per-node "$SLURM_GPUS_ON_NODE" \
  --rdzv-backend c10d --rdzv-endpoint "$first:29500" --rdzv-id "$SLURM_JOB_ID" manage.py "$@" &
wait $!
