"""Spans made from events."""
