"""The training loop, its checkpoints, moving averages, and training by several processes."""
