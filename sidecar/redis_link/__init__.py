"""The way to Redis or Valkey: a server, the master behind Sentinels, a Cluster. For the broker adapter and the index."""
