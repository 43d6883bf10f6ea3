"""Names of producers, as consumer groups are named."""

from __future__ import annotations


def name_producer(producer: str) -> str:
    """Return the last part of a producer that states a path, such as `/shop/stock` (CloudEvents' source)."""
    return producer.rstrip("/").rpartition("/")[2]
