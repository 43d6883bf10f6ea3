"""An aggregate's own order: the version or sequence number that its events carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from msgspec import Struct

from sidecar.decoding.envelope.extractor import parse_location

STATED_LOCATIONS = (
    "header:aggregate-version",
    "header:aggregateVersion",
    "header:aggregate-sequence",
    "header:ce_sequence",
    "body:aggregateVersion",
    "body:aggregate_version",
    "body:aggregateSequence",
    "body:aggregate_sequence",
    "body:metadata.aggregateVersion",
    "body:metadata.aggregate_version",
)
"""Places that state an aggregate's version by their name."""
GUESSED_LOCATIONS = (
    "header:sequence",
    "header:sequence-number",
    "body:sequence",
    "body:sequenceNumber",
    "body:sequence_number",
    "body:revision",
    "body:version",
    "body:metadata.version",
    "body:data.version",
)
"""Places that often hold it. They count only if no two events have the same number."""
MAX_DIGITS_COUNT = 18

Numbers = tuple[int | None, ...]
"""The number that an event has at each location."""


class SequenceChoice(Struct, frozen=True):
    """The location whose numbers order the events of an aggregate."""

    location: str
    index: int
    """Index into the numbers of each event."""
    counts: bool
    """The numbers count the aggregate's events: most follow one another, so that a gap is a missing event. False: they
    only order the events, as a global sequence does."""


class SequenceReader:
    """Finds numbers in events. `configured`: locations of the configuration, which are tried first."""

    def __init__(self, configured: Sequence[str] = ()) -> None:
        self._locations = (*configured, *STATED_LOCATIONS, *GUESSED_LOCATIONS)
        self._places = [parse_location(location, configured=True) for location in self._locations]
        self._first_guess = len(configured) + len(STATED_LOCATIONS)

    def numbers(self, headers: Sequence[tuple[str, Any]], body: Any) -> Numbers:
        """Read the number of one event at each location. Headers and body as the API shows them."""
        by_name = {name.lower(): value for name, value in headers}
        return tuple(
            _as_number(by_name.get(place.header) if place.header is not None else _step_into(body, place.steps))
            for place in self._places
        )

    def choose(self, events: Sequence[Numbers]) -> SequenceChoice | None:
        """Choose the first location at which every event has a number; None if there is none.

        Args:
            events: The numbers of the events, each event once.
        """
        if len(events) < 2:
            return None
        for index, location in enumerate(self._locations):
            column = [numbers[index] for numbers in events]
            present = sorted(number for number in column if number is not None)
            distinct = len(set(present))
            if len(present) < len(column) or distinct < 2:
                continue
            if index >= self._first_guess and distinct < len(present):
                continue
            steps = [after - before for before, after in pairwise(present)]
            return SequenceChoice(location, index, counts=2 * steps.count(1) >= len(steps))
        return None


def _as_number(value: Any) -> int | None:
    if value.__class__ is int and value >= 0:
        number: int = value
        return number
    if value.__class__ is str and value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS_COUNT:
        return int(value)
    return None


def _step_into(body: Any, steps: Sequence[str]) -> Any:
    for step in steps:
        if not isinstance(body, Mapping):
            return None
        body = body.get(step)
    return body
