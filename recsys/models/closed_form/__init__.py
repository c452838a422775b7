"""Models that are computed, not trained by gradient."""
