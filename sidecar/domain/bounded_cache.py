"""A bounded mapping that keeps what was used lately, at the price of a plain dict for what is used all the time."""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedCache(dict[K, V]):
    """Two generations: `self[key]` is one dict look-up for the young; an old entry that is asked for becomes young
    again. When the young ones fill their half, they are the old, and what was old and not asked for since is
    forgotten.

    Only `[key]`, `[key] = value`, `find`, `clear` and `held` know both generations."""

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
        """The value, or None where there is none."""
        try:
            return self[key]
        except KeyError:
            return None

    def clear(self) -> None:
        self._old = {}
        super().clear()

    def held(self) -> dict[K, V]:
        """Everything of both generations, as a copy."""
        return {**self._old, **self}
