"""The query language of the terminal, the command line and the API, for events and for dead letters.

    parse("stream:orders type:Order* status:rejected body.data.total:>100 since:15m").matches(node, headers, body)

The grammar is in `sidecar.query.parser`, the fields are in `sidecar.query.fields`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

from sidecar.domain.errors import QueryError
from sidecar.domain.model import DeadLetter, Event, Headers
from sidecar.domain.ports.index import Node
from sidecar.domain.position import Partition
from sidecar.query.ast import And, ExactText, Expression, Not, Or, Term, write
from sidecar.query.compiler import EVENTS, LETTERS, Match, compile_expression, resolve_time_ms
from sidecar.query.error_formatter import render
from sidecar.query.parser import parse_expression
from sidecar.query.suggestion import suggest_query

__all__ = ["Query", "QueryError", "parse", "render", "suggest_query"]

_PAYLOAD_FIELDS = frozenset({"header", "body"})
_INDEX_FIELDS = frozenset({None, "trace", "status", "code", "stage"})
"""Fields that the index may know better than the decoded record does. None: a bare word, which is compared with the
trace id too."""
_PLACE_FIELDS = frozenset({"stream", "partition"})


def parse(text: str, now: int | None = None) -> Query:
    """Parse a query. An empty query matches everything.

    Durations count back from `now` (milliseconds since 1970). Raises QueryError, which `render` shows with a caret.
    """
    try:
        expression = parse_expression(text)
    except QueryError as error:
        raise QueryError(str(error), error.query, error.at, suggest_query(text)) from None
    return Query(expression, time.time_ns() // 1_000_000 if now is None else now)


class Query:
    """A parsed query. Immutable."""

    def __init__(self, expression: Expression, now: int) -> None:
        self.expression = expression
        self._now = now

    def __str__(self) -> str:
        return write(self.expression)

    def matches(self, node: Node, headers: Headers | None = None, body: Any = None) -> bool:
        """Check whether an event matches.

        `headers` and `body` are needed if `needs_payload` is true. They must be redacted, because a match would reveal
        hidden values. Absent values match no condition.
        """
        return self._event(node, headers, body)

    def matches_letter(self, letter: DeadLetter, headers: Headers | None = None, body: Any = None) -> bool:
        """Check whether a dead letter matches, with the original record's headers and body."""
        return self._letter(letter, headers, body)

    def possible_decoded(self, event: Event) -> bool:
        """Check whether a decoded event can match, without its headers, its body and its place in the index."""
        return self._possible_decoded(_build_unplaced(event), None, None)

    def possible_payload(self, event: Event, headers: Headers | None, body: Any) -> bool:
        """Check whether a decoded event can match, without its place in the index."""
        return self._possible_payload(_build_unplaced(event), headers, body)

    def possible_headers(self, headers: Headers) -> bool:
        """Check whether a record with these headers can match, before it is decoded."""
        return self._possible_headers(_NO_EVENT, headers, None)

    def possible_in(self, partition: Partition) -> bool:
        """Check whether any event of a partition can match."""
        return self._possible_place(_build_unplaced(Event(partition.at(0), None, 0, 0)), None, None)

    def possible_letter(self, letter: DeadLetter) -> bool:
        """Check whether a dead letter can match, without its headers and body."""
        return self._possible_letter(letter, None, None)

    @cached_property
    def needs_payload(self) -> bool:
        """True if the query has a condition on headers or body."""
        return any(term.field in ("header", "body") for term in _list_terms(self.expression))

    @cached_property
    def needs_body(self) -> bool:
        """True if the query has a condition on the body."""
        return any(term.field == "body" for term in _list_terms(self.expression))

    @cached_property
    def needs_headers(self) -> bool:
        """True if the query has a condition on a header."""
        return self.asks("header")

    def asks(self, field: str) -> bool:
        """Check whether the query has a condition on a field."""
        return any(term.field == field for term in _list_terms(self.expression))

    @cached_property
    def since(self) -> int | None:
        """Time in milliseconds; older events cannot match."""
        return _find_bound(self.expression, "since", self._now)

    @cached_property
    def until(self) -> int | None:
        """Time in milliseconds; events at or after it cannot match."""
        return _find_bound(self.expression, "until", self._now)

    @cached_property
    def streams(self) -> frozenset[str] | None:
        """The only streams that can match; None if any stream may."""
        return self.list_required_values("stream")

    def list_required_values(self, field: str | None) -> frozenset[str] | None:
        """Return the only values of a field (None: of any id) that can match; None if any value may."""
        return _find_pinned(self.expression, field)

    @cached_property
    def _event(self) -> Match[Node]:
        return compile_expression(self.expression, EVENTS, self._now)

    @cached_property
    def _letter(self) -> Match[DeadLetter]:
        return compile_expression(self.expression, LETTERS, self._now)

    @cached_property
    def _possible_decoded(self) -> Match[Node]:
        return self._compile_known(lambda field: field not in _PAYLOAD_FIELDS | _INDEX_FIELDS)

    @cached_property
    def _possible_payload(self) -> Match[Node]:
        return self._compile_known(lambda field: field not in _INDEX_FIELDS)

    @cached_property
    def _possible_headers(self) -> Match[Node]:
        return self._compile_known(lambda field: field == "header")

    @cached_property
    def _possible_place(self) -> Match[Node]:
        return self._compile_known(lambda field: field in _PLACE_FIELDS)

    def _compile_known(self, is_known: Callable[[str | None], bool]) -> Match[Node]:
        return compile_expression(_keep_known(self.expression, is_known, True), EVENTS, self._now)

    @cached_property
    def _possible_letter(self) -> Match[DeadLetter]:
        known = _keep_known(self.expression, lambda field: field not in _PAYLOAD_FIELDS, True)
        return compile_expression(known, LETTERS, self._now)


def _build_unplaced(event: Event) -> Node:
    return Node(event, "ok", 0, None, False, 0)


_NO_EVENT = _build_unplaced(Event(Partition("", "", 0).at(0), None, 0, 0))


def _list_terms(expression: Expression) -> list[Term]:
    match expression:
        case Term():
            return [expression]
        case Not(item=item):
            return _list_terms(item)
        case And(items=items) | Or(items=items):
            return [term for item in items for term in _list_terms(item)]


def _keep_known(expression: Expression, is_known: Callable[[str | None], bool], unknown: bool) -> Expression:
    """Replace every condition on a field that is not known by `unknown`."""
    match expression:
        case Term(field=field):
            return expression if is_known(field) else And(()) if unknown else Or(())
        case Not(item=item):
            return Not(_keep_known(item, is_known, not unknown))
        case And(items=items):
            kept = [_keep_known(item, is_known, unknown) for item in items]
            return And(tuple(item for item in kept if item != And(())))
        case Or(items=items):
            return Or(tuple(_keep_known(item, is_known, unknown) for item in items))


def _find_bound(expression: Expression, field: str, now: int) -> int | None:
    tightest, loosest = (max, min) if field == "since" else (min, max)
    match expression:
        case Term(field=name, value=ExactText(text=text)) if name == field:
            return resolve_time_ms(text, now)
        case And(items=items):
            return tightest((b for item in items if (b := _find_bound(item, field, now)) is not None), default=None)
        case Or(items=items):
            bounds = [_find_bound(item, field, now) for item in items]
            known = [bound for bound in bounds if bound is not None]
            return loosest(known) if len(known) == len(bounds) else None
        case _:
            return None


def _find_pinned(expression: Expression, field: str | None) -> frozenset[str] | None:
    match expression:
        case Term(field=name, value=ExactText(text=text), comparison="") if name == field:
            return frozenset([text])
        case And(items=items):
            pins = [pin for item in items if (pin := _find_pinned(item, field)) is not None]
            return frozenset.intersection(*pins) if pins else None
        case Or(items=items):
            some = [_find_pinned(item, field) for item in items]
            known = [pin for pin in some if pin is not None]
            return frozenset.union(*known) if len(known) == len(some) else None
        case _:
            return None
