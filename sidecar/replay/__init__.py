"""The way back: dead letters and ranges of events published again, once, by jobs that survive their sidecar."""
