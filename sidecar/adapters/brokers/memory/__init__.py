"""The in-memory broker adapter, the official fake."""
