"""Composition, startup and shutdown of a sidecar, its status and its metrics."""
