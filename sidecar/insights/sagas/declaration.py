"""The declaration of a saga, as its configuration states it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

Correlation = Literal["flow", "aggregate", "correlation", "key"]


class DeclaredStep(Struct, frozen=True, kw_only=True):
    """A step of a saga: an event that is expected, with its time limit."""

    name: str
    types: tuple[str, ...]
    """Types of its event; any one of them."""
    optional: bool = False
    """The saga can end without it."""
    repeated: bool = False
    """Its event may come several times."""
    within_us: int | None = None
    """Microseconds after the step before (in any order: after the start) by which it must have come."""
    expected_from: str | None = None
    """The consumer group that produces it. None: the producer of the same step in other sagas."""


class SagaDeclaration(Struct, frozen=True, kw_only=True):
    """A declared saga: its start, steps, deadline and ends."""

    name: str
    start: str
    """Type of the event that begins it."""
    steps: tuple[DeclaredStep, ...]
    in_sequence: bool = True
    """Steps come one after another. False: in any order."""
    correlation: Correlation = "flow"
    """The ids that join an event to its saga: those of the flow (trace, correlation and causation ids), or one key."""
    deadline_us: int
    """Microseconds after the start by which it must have ended."""
    completed: frozenset[str] = frozenset()
    """Types that end it well. Empty: it ends with its last required step."""
    compensated: frozenset[str] = frozenset()
    """Types that end it after compensation."""
    failed: frozenset[str] = frozenset()
    """Types that end it as failed."""
    compensations: frozenset[str] = frozenset()
    """Types that undo earlier steps."""

    def types(self) -> Iterable[str]:
        """Yield every event type that the declaration names; a type may be yielded more than once."""
        yield self.start
        for step in self.steps:
            yield from step.types
        yield from self.completed | self.compensated | self.failed | self.compensations
