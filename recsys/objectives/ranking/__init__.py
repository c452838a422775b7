"""Objectives that rank a positive above negatives."""
