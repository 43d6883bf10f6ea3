"""Port of a reducer, which rebuilds the state of an aggregate from its events."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from sidecar.domain.aggregate_fold import AggregateState, ReducerEvent, StateStep


class Reduction(Protocol):
    """One run of a reducer over the events of one aggregate.

    Both methods raise Refused, with a message that names the event, if the reducer fails or exceeds its limits.
    """

    async def apply(self, events: Sequence[ReducerEvent]) -> list[StateStep]:
        """Apply events in order, and yield to other tasks meanwhile."""

    async def state(self) -> AggregateState:
        """Return the state after the applied events."""


class Reducer(Protocol):
    """Builds states. The same state and event always give the same next state."""

    @property
    def name(self) -> str:
        """Name in the configuration and in answers."""

    def start(self, state: AggregateState) -> AbstractAsyncContextManager[Reduction]:
        """Start a run from a state. Leaving the context ends the run, even in the middle of an event.

        Raises Refused.
        """
