"""Datasets, readers, cards, features and splits."""
