"""Encoders and fusions: parts that models are composed of."""
