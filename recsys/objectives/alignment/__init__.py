"""Alignment and uniformity: near where it matters, spread everywhere else."""
