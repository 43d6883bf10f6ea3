"""Catalog of event types with their producers and consumers, as observed on the streams."""
