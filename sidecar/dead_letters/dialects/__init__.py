"""Header dialects of dead letters, one file each."""
