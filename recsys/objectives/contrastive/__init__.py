"""Contrastive objectives: views of one node agree, and differ from those of others."""
