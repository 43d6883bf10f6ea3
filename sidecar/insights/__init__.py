"""Insights into the events: findings of the linter, and the catalog. Nothing here reads a record or a server."""
