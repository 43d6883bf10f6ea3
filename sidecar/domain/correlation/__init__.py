"""Correlation of events: flows, causes, duplicates and derived trace ids. Pure functions over held events."""
