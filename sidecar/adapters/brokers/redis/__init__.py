"""The Redis Streams broker adapter."""
