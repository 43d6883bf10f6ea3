"""Look-up of ids in requests: positions, event ids, trace ids, aggregate ids and correlation ids."""

from __future__ import annotations

from sidecar.api import models
from sidecar.api.mappers.events import coverage
from sidecar.api.services.picture.broker_search import BrokerSearch
from sidecar.domain.errors import NotFoundError, QueryError
from sidecar.domain.ports.index import IndexReader, Node
from sidecar.domain.position import Position, looks_like_position
from sidecar.domain.redaction import Redactor


class IdLookup:
    """Looks ids up in the index without revealing redacted ones."""

    def __init__(self, index: IndexReader, redactor: Redactor, search: BrokerSearch | None = None) -> None:
        """Create the look-up. `search`: what was looked at in the brokers, for errors."""
        self._index, self._redactor, self._search = index, redactor, search

    async def position(self, id: str) -> Position:
        """Return `id` if it is a position, else the position of the latest event in the index with this event id.

        Raises NotFoundError, and QueryError for a malformed position.
        """
        try:
            return Position.parse(id)
        except ValueError:
            pass
        for node in await self._index.lookup(id):
            if self._redactor.event(node.event).event_id == id:
                return node.event.position
        raise self.not_found("event", id)

    def reveals(self, node: Node, id: str) -> bool:
        """Check whether `id` is a visible id of this event. A match by a redacted id would confirm a guess."""
        if not self._redactor.hidden_words:
            return True
        event = self._redactor.event(node.event)
        visible = (
            str(event.position),
            *map(str, node.hops),
            f"{node.trace_id:032x}",
            event.event_id,
            event.aggregate_id,
            event.correlation_id,
        )
        return canonical_id(id) in visible

    def not_found(self, kind: str, id: str) -> NotFoundError | QueryError:
        """Build the error for an id that no event in the index has. `kind`: event, flow or aggregate."""
        return _malformed_position(id) or self.not_held(kind, id)

    def not_held(self, kind: str, id: str) -> NotFoundError:
        """Build the error for an unknown id, without checking whether it is a malformed position."""
        held = coverage(self._index.coverage())
        since = f" since {held.since}" if held.since else ""
        filling = ", which is still filling," if held.filling else ""
        report = None if self._search is None else self._search.report
        places = [f"the {held.events} events of the index{since}{filling}", *describe_history(held.history)]
        if report is None:
            advice = "; to search older ones, scan the broker (tracecar events --scan)"
            return NotFoundError(f"no {kind} has the id {id!r} among {' and '.join(places)}{advice}")
        places.append(report.describe())
        return NotFoundError(f"no {kind} has the id {id!r} among {', '.join(places[:-1])} and {places[-1]}")


def describe_history(extent: models.HistoryExtentModel | None) -> list[str]:
    """Describe the history as a further place that was looked at; nothing if there is none."""
    if extent is None:
        return []
    since = f" since {extent.oldest}" if extent.oldest else ""
    holes = f" (with {extent.hole_count} holes)" if extent.hole_count else ""
    noun = "event" if extent.events == 1 else "events"
    return [f"the {extent.events} {noun} of the history{since}{holes}"]


def canonical_id(id: str) -> str:
    """Return a position in its canonical spelling, any other id unchanged."""
    try:
        return str(Position.parse(id))
    except ValueError:
        return id


def _malformed_position(id: str) -> QueryError | None:
    """Return the error for an id that begins like a position and is none; None for any other id."""
    if not looks_like_position(id):
        return None
    try:
        Position.parse(id)
    except ValueError as error:
        return QueryError(str(error), id, 0)
    return None
