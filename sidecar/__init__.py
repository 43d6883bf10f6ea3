"""Tracecar: a distributed-tracing sidecar for event-driven systems. See docs/architecture.md."""
