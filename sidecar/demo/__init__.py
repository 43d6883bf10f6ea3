"""The demo: an embedded broker, a shop that makes mistakes, and a sidecar beside it."""
