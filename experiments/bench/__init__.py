"""Benchmarks: a file of models, data sets, splits and seeds in, tables with verdicts out."""
