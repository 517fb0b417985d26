"""Where jobs run: this process, a pool of processes, a Ray cluster, Slurm. One file each."""
