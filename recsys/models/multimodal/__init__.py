"""Trained models that read interactions and the items' modalities."""
