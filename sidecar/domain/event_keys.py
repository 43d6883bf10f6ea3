"""The ids that events carry, as keys by which an index and the history find them."""

from __future__ import annotations

from sidecar.domain.history_rows import find_derived_trace_id
from sidecar.domain.model import Event
from sidecar.domain.ports.history import HistoryKey, HistoryWord

KEY_WORDS: tuple[HistoryWord, ...] = (
    "event_id",
    "trace_id",
    "aggregate_id",
    "correlation_id",
    "causation_id",
    "replay_of",
)


def format_trace_id(trace_id: int) -> str:
    """Write a trace id as keys have it: 32 lower-case hex digits."""
    return f"{trace_id:032x}"


def carried_id(event: Event, word: HistoryWord) -> str | None:
    """Return the id that an event carries, as text."""
    if word == "trace_id":
        return None if event.trace_id is None else format_trace_id(event.trace_id)
    value: str | None = getattr(event, word)
    return value


def stored_ids(event: Event) -> set[HistoryKey]:
    """Return all keys by which the history finds an event."""
    derived = find_derived_trace_id(event)
    ids = carried_ids(event)
    return ids if derived is None else ids | {HistoryKey("derived_trace_id", derived)}


def carried_ids(event: Event) -> set[HistoryKey]:
    """Return all keys by which an event is found."""
    return {HistoryKey(word, value) for word in KEY_WORDS if (value := carried_id(event, word)) is not None}
