"""Objectives: tensors in, a scalar out; no model inside."""
