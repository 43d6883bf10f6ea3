"""Index adapters: in memory, or shared in Redis."""
