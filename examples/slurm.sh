#!/bin/bash
# Two nodes, a worker and a GPU on each: sbatch examples/slurm.sh. Change the data and the folder, which all nodes share.
#SBATCH --job-name=keras-se
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-task=1
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
# Two minutes before its time is up the job is told to stop: it saves its state, ends with 143, is queued again and goes
# on. A lost worker ends them all.
srun --kill-on-bad-exit=1 keras-se train --model se_resnet50 --recipe paper_resnet --data /shared/imagenet \
  --out /shared/run --strategy multi_worker --checkpoint-steps 1000 --resume
status=$?
[ $status -eq 143 ] && scontrol requeue "$SLURM_JOB_ID"
exit $status
