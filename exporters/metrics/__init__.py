"""Metrics of the sidecar and of the events."""
