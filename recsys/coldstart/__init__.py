"""Placing items and users without training interactions: content neighbours, and what content says of popularity."""
