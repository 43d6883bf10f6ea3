"""Ids of dead letters: `GROUP@POSITION`, or `GROUP@sha256:…` for a reported record without a position."""

from __future__ import annotations

import re

from sidecar.domain.errors import NotFoundError, QueryError, TracecarError
from sidecar.domain.position import SCHEME, Position

_PLACE = re.compile(rf"(?:.*@(?={SCHEME}://)|.*?@(?=sha256:))(.*)\Z", re.DOTALL)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
EXPECTED_FORM = "GROUP@POSITION such as billing@kafka://orders/0/4711"


def describe_malformed_id(id: str) -> str | None:
    """Describe the fault of the position in an id; None if it is well formed.

    Only for unknown ids: foreign dead letters are shown under any id that they carry.
    """
    place = _PLACE.search(id)
    if place is None:
        return None
    if place[1].startswith("sha256:"):
        if _DIGEST.fullmatch(place[1]):
            return None
        return f"not a dead letter's id: {id[:200]!r}; expected 64 hex digits after sha256:"
    try:
        Position.parse(place[1])
    except ValueError as error:
        return f"not a dead letter's id: {id[:200]!r}: {error}"
    return None


def parse_origin_position(id: str) -> Position | None:
    """Return the position in the id of a dead letter; None if it has none, or if the text is no such id."""
    place = _PLACE.search(id)
    try:
        return None if place is None else Position.parse(place[1])
    except ValueError:
        return None


def unknown_id_error(id: str, reason: str) -> TracecarError:
    """Build the error for an id that no dead letter has. `reason` is used if the id is well formed."""
    problem = describe_malformed_id(id)
    if problem is not None:
        return QueryError(problem, id, 0)
    return NotFoundError(reason if _PLACE.search(id) else f"{reason}; an id is written {EXPECTED_FORM}")
