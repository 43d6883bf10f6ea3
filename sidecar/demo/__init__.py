"""The demo: an embedded broker, a shop with deliberate mistakes, and a sidecar beside it."""
