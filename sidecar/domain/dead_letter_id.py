"""The ids of dead letters, as they are written: `GROUP@POSITION`, or `GROUP@sha256:…` of a record that lay nowhere."""

from __future__ import annotations

import re

from sidecar.domain.errors import NotFoundError, QueryError, TracecarError
from sidecar.domain.position import SCHEME, Position

_PLACE = re.compile(rf"(?:.*@(?={SCHEME}://)|.*?@(?=sha256:))(.*)\Z", re.DOTALL)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
EXPECTED_FORM = "GROUP@POSITION such as billing@kafka://orders/0/4711"


def describe_malformed_id(id: str) -> str | None:
    """What is wrong with the place that an id names; None where nothing is, or it names none. Letters of others are
    shown by whatever id they bear, so this is for ids that no letter has."""
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


def unknown_id_error(id: str, why: str) -> TracecarError:
    """What is raised for an id that no letter has. `why` is for one that could have been."""
    wrong = describe_malformed_id(id)
    if wrong is not None:
        return QueryError(wrong, id, 0)
    return NotFoundError(why if _PLACE.search(id) else f"{why}; an id is written {EXPECTED_FORM}")
