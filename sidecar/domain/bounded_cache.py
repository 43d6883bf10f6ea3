"""Bounded cache of recently used entries that costs no more than a dict for entries in constant use."""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedCache(dict[K, V]):
    """A dict of two generations.

    `self[key]` is one dict look-up for the young generation; reading an old entry makes it young again. When the young
    entries fill half of the size, they become the old generation, and the previous old entries that were not read are
    dropped. Only `[key]`, `[key] = value`, `find`, `clear` and `snapshot` use both generations.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self._half = max(1, size // 2)
        self._old: dict[K, V] = {}

    def __missing__(self, key: K) -> V:
        value = self._old[key]
        self[key] = value
        return value

    def __setitem__(self, key: K, value: V) -> None:
        if len(self) >= self._half and key not in self:
            self._old = dict(self)
            super().clear()
        super().__setitem__(key, value)

    def find(self, key: K) -> V | None:
        """Return the value of a key, or None."""
        try:
            return self[key]
        except KeyError:
            return None

    def clear(self) -> None:
        """Drop all entries."""
        self._old = {}
        super().clear()

    def snapshot(self) -> dict[K, V]:
        """Return a copy of both generations."""
        return {**self._old, **self}
