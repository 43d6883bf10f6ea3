"""Extraction of an event's fields (id, type, times, aggregate and so on) from headers, body and key."""
