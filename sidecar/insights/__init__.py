"""Findings about the events themselves, made from what the index and the brokers hold. Nothing here reads a record."""
