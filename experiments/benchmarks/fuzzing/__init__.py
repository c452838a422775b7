"""What `recsys.experiments.benchmarks.fuzz` is made of: samples, damages, and a plain reading of damaged files."""
