"""Benchmarks, scans, statistics and reports over the engine."""
