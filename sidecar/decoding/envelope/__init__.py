"""Finds the fields of an event (id, type, times, aggregate and so on) in headers and body."""
