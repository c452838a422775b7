"""Trained models that read interactions alone."""
