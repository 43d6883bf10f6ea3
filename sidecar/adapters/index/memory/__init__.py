"""The in-memory index of recent events."""
