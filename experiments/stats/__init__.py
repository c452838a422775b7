"""Paired tests, intervals and verdicts."""
