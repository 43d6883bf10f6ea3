"""Client of Redis or Valkey (a server, the master behind Sentinels, a Cluster), for broker adapter and index."""
