"""Hyperparameter scans on the validation part."""
