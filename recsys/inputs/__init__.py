"""What a model is given: training data, batches, item content, and requests to rank new items and users."""
