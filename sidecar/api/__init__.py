"""The HTTP API: server, use cases, models and client."""
