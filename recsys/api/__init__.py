"""What `import recsys` offers: train, evaluate, compare and load in Python. The names are listed in `recsys`."""
