"""Correlation of events: flows, causes, duplicates and derived trace ids. Pure functions of sets of events."""
