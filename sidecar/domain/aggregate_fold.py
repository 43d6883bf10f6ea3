"""State of an aggregate, rebuilt by applying its events one after the other.

A reducer is a function `(state, event) -> state`. It must not change its arguments. Parts of the state that an event
does not change should stay the same objects, because identical objects are not compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from sidecar.domain.json_diff import JsonChange, Origins, list_differences, trace_origins

MAX_CHANGES_PER_STEP = 200
"""Changes to list for one event."""

Reduce = Callable[[Any, Mapping[str, Any]], Any]
"""Returns the state after an event: `(state, event) -> state`."""


class ReducerEvent(Struct, frozen=True, gc=False):
    """An event in the form that reducers receive."""

    position: str
    document: dict[str, Any]
    """The event as the API shows it, redacted, with `headers` and `body`."""


class AggregateState(Struct, frozen=True):
    """A state, and the origin of its parts."""

    value: Any
    origins: Origins
    """Positions of the events that last changed each part."""


class StateStep(Struct, frozen=True):
    """Changes that one event made."""

    position: str
    changes: list[JsonChange]
    omitted: int = 0
    """Number of further changes that are not listed."""


EMPTY_STATE = AggregateState({}, {})
"""State before the first event."""


class AggregateFold:
    """A state to which events are applied."""

    def __init__(self, reduce: Reduce, state: AggregateState = EMPTY_STATE) -> None:
        self.state = state
        self._reduce = reduce

    def apply(self, event: ReducerEvent) -> StateStep:
        """Apply an event and return its changes. Raises what the reducer raises."""
        before = self.state
        value = self._reduce(before.value, event.document)
        self.state = AggregateState(value, trace_origins(before.value, value, before.origins, event.position))
        changes: list[JsonChange] = []
        omitted = 0
        for change in list_differences(before.value, value):
            if len(changes) < MAX_CHANGES_PER_STEP:
                changes.append(change)
            else:
                omitted += 1
        return StateStep(event.position, changes, omitted)
