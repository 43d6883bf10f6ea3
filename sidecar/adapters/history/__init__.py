"""Adapters of the history: files in a directory or in object storage."""
