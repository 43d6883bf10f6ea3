"""Schema registries: over HTTP, in a directory, in memory."""
