"""Look-ups of schemas: their results, and the signal that data must be fetched first."""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec import Struct

from sidecar.decoding.schema import BoundSchema
from sidecar.domain.model import Rejection

RECHECK_S = 0.1
"""Time for which a denial (an unknown id, a missing subject) counts before it must be confirmed again."""
UNUSED_S = 30.0
"""Time for which a confirmed denial counts until its first use."""
_RECHECK_PER_QUESTION = 4
"""Additional time, in multiples of what the answer took: a look-up may need several answers, all of them fresh."""

SchemaKey: TypeAlias = tuple[Any, ...]
"""Key of something that `SchemaCache.fetch` can load; opaque to callers."""


class SchemaNotCached(Exception):
    """The answer is not in memory, or too old for a rejection.

    Await `SchemaCache.fetch(key)`, then repeat the look-up.
    """

    def __init__(self, key: SchemaKey) -> None:
        super().__init__(key)
        self.key = key


class SchemaLookup(Struct, frozen=True, gc=False):
    """Result of a look-up."""

    schema: BoundSchema | None
    rejection: Rejection | None = None
    """Reason why the event fails. With `schema.wrong_subject` there is also a schema, so that the event can still be
    read."""


class Freshness:
    """Age of an answer of the registry that denies an event.

    A denial that was just confirmed may be used once within UNUSED_S, however late: on a slow machine, or with a slow
    registry, an event would otherwise never be decoded. It is valid for every event that was seen before the registry
    was asked. Apart from that, an answer is valid for RECHECK_S.
    """

    __slots__ = ("_asked_at", "_until", "_unused_until")

    def __init__(self, asked_at: float, now: float, *, confirms: bool = True) -> None:
        """Start at the time when the answer arrived. Both times are monotonic seconds."""
        self._asked_at = asked_at
        self._until = now + RECHECK_S + _RECHECK_PER_QUESTION * (now - asked_at)
        self._unused_until = now + UNUSED_S if confirms else 0.0

    def use(self, now: float, since: float) -> bool:
        """Use the answer for an event that was seen at `since`. Returns False if it is too old."""
        if now <= self._unused_until:
            self._until = max(self._until, now + RECHECK_S)
        self._unused_until = 0.0
        return now <= self._until or self._asked_at >= since
