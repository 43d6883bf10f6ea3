"""The way to Redis or Valkey: a server, the master behind Sentinels, a Cluster. For broker adapter and index."""
