"""Fixtures for a real server; see the file of the same name in this folder."""
