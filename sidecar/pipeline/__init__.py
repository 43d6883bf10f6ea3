"""Processing of a batch, from the broker to its commit."""
