"""Replays: jobs that publish dead letters or ranges of events again, each once, and that survive their sidecar."""
