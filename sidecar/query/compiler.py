"""Compiler from an expression to closures, so that matching an event costs a few attribute look-ups and comparisons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sidecar.domain import timestamps
from sidecar.domain.json_path import Step
from sidecar.domain.model import DeadLetter, Headers
from sidecar.domain.ports.index import Node
from sidecar.domain.position import Position
from sidecar.query.ast import And, ExactText, Expression, Not, Or, RegexText, Term, Value
from sidecar.query.comparison import build_order_test, build_text_test, build_value_test, parse_time
from sidecar.query.fields import FIELDS, Found, event_ids, event_time, letter_ids, letter_time

T = TypeVar("T")
Match = Callable[[T, Headers | None, Any], bool]
MAX_ELEMENTS = 10_000
"""Values of one body that one condition examines."""


@dataclass(frozen=True, slots=True)
class QueryTarget(Generic[T]):
    """Access to the fields of one kind of object, such as events or dead letters."""

    fields: Mapping[str, Callable[[T], Found]]
    ids: Callable[[T], tuple[str | None, ...]]
    time: Callable[[T], int | None]
    """Returns the time of an object in milliseconds."""
    id_match: Callable[[str], Match[T] | None]
    """A faster search for a text in every id, if there is one."""


def compile_expression(expression: Expression, side: QueryTarget[T], now: int) -> Match[T]:
    """Compile an expression to a predicate over a subject, its headers and its body. `now` is in milliseconds."""
    match expression:
        case Not(item=item):
            inner = compile_expression(item, side, now)
            return lambda subject, headers, body: not inner(subject, headers, body)
        case And(items=items):
            return _match_all([compile_expression(item, side, now) for item in sorted(items, key=_estimate_cost)])
        case Or(items=items):
            return _match_any([compile_expression(item, side, now) for item in sorted(items, key=_estimate_cost)])
        case Term(field=None, value=value):
            return _match_any_id(value, side)
        case Term(field="since" | "until", value=ExactText(text=text)):
            return _match_time(expression.field == "since", resolve_time_ms(text, now), side.time)
        case Term(field="header"):
            return _match_header(expression)
        case Term(field="body"):
            return _match_body(expression)
        case Term(field=field) if field is not None:
            return _match_field(expression, side.fields[field])
    raise AssertionError(expression)


def resolve_time_ms(text: str, now: int) -> int:
    """Return the time that `since` or `until` names, in milliseconds since 1970."""
    exact = parse_time(text)
    return exact // 1000 if exact is not None else now - round(timestamps.parse_duration(text) * 1000)


def _match_all(matches: list[Match[T]]) -> Match[T]:
    if len(matches) == 1:
        return matches[0]
    if len(matches) == 2:
        first, second = matches
        return lambda subject, headers, body: first(subject, headers, body) and second(subject, headers, body)
    return lambda subject, headers, body: all(match(subject, headers, body) for match in matches)


def _match_any(matches: list[Match[T]]) -> Match[T]:
    return lambda subject, headers, body: any(match(subject, headers, body) for match in matches)


def _match_field(term: Term, get: Callable[[T], Found]) -> Match[T]:
    if isinstance(term.value, ExactText) and not term.comparison:
        wanted = term.value.text

        def equal(subject: T, headers: Headers | None, body: Any) -> bool:
            actual = get(subject)
            return actual == wanted or (isinstance(actual, tuple) and wanted in actual)

        return equal
    test = (
        build_order_test(term.comparison, term.value.text)
        if term.comparison and isinstance(term.value, ExactText)
        else build_text_test(term.value)
    )

    def passes(subject: T, headers: Headers | None, body: Any) -> bool:
        actual = get(subject)
        if isinstance(actual, str):
            return test(actual)
        return actual is not None and any(map(test, actual))

    return passes


def _match_any_id(value: Value, side: QueryTarget[T]) -> Match[T]:
    if isinstance(value, ExactText) and (quick := side.id_match(value.text)) is not None:
        return quick
    test = build_text_test(value)
    ids = side.ids
    return lambda subject, headers, body: any(id is not None and test(id) for id in ids(subject))


def _match_time(since: bool, bound: int, time: Callable[[T], int | None]) -> Match[T]:
    def passes(subject: T, headers: Headers | None, body: Any) -> bool:
        at = time(subject)
        return at is not None and (at >= bound) is since

    return passes


def _match_header(term: Term) -> Match[Any]:
    wanted = str(term.path[0]).lower()
    test = build_value_test(term.comparison, term.value)

    def passes(subject: Any, headers: Headers | None, body: Any) -> bool:
        return headers is not None and any(name.lower() == wanted and test(value) for name, value in headers)

    return passes


def _match_body(term: Term) -> Match[Any]:
    path = term.path
    test = build_value_test(term.comparison, term.value)

    def passes(subject: Any, headers: Headers | None, body: Any) -> bool:
        return body is not None and any(map(test, find_values(body, path)))

    return passes


def find_values(body: Any, path: tuple[Step, ...]) -> list[Any]:
    """Find all values at a path of a body.

    At a list, a name and the end of the path apply to every element. At most MAX_ELEMENTS values are visited.
    """
    values = [body]
    for step in path:
        values = _follow_step(values, step)
    return _flatten_lists(values)


def _follow_step(values: list[Any], step: Step) -> list[Any]:
    if step is None:
        return [item for value in values if isinstance(value, list | tuple) for item in value[:MAX_ELEMENTS]][
            :MAX_ELEMENTS
        ]
    if isinstance(step, int):
        return [value[step] for value in values if isinstance(value, list | tuple) and step < len(value)]
    return [value[step] for value in _flatten_lists(values) if isinstance(value, dict) and step in value]


def _flatten_lists(values: list[Any]) -> list[Any]:
    """Replace lists (and lists of lists, four deep) by their elements."""
    for _ in range(4):
        if not any(isinstance(value, list | tuple) for value in values):
            break
        spread: list[Any] = []
        for value in values:
            spread.extend(value[:MAX_ELEMENTS] if isinstance(value, list | tuple) else (value,))
        values = spread[:MAX_ELEMENTS]
    return values


def _estimate_cost(expression: Expression) -> int:
    """Estimate the cost of a condition. Cheap and selective ones are evaluated first."""
    match expression:
        case Term(field="body"):
            return 50
        case Term(field="header"):
            return 20
        case Term(value=RegexText()):
            return 10
        case Term(field=None):
            return 5
        case Term():
            return 1
        case Not(item=item):
            return _estimate_cost(item)
        case And(items=items) | Or(items=items):
            return sum(map(_estimate_cost, items))


def _match_event_id(text: str) -> Match[Node] | None:
    trace = int(text, 16) if 0 < len(text) <= 32 and text.isalnum() and _is_hex(text) else None
    position = _parse_position(text)

    def passes(node: Node, headers: Headers | None, body: Any) -> bool:
        event = node.event
        return (
            event.event_id == text
            or event.aggregate_id == text
            or event.correlation_id == text
            or event.causation_id == text
            or event.key == text
            or node.trace_id == trace
            or event.position == position
        )

    return passes


def _is_hex(text: str) -> bool:
    return not text.strip("0123456789abcdefABCDEF")


def _parse_position(text: str) -> Position | None:
    try:
        return Position.parse(text)
    except ValueError:
        return None


EVENTS: QueryTarget[Node] = QueryTarget(
    {name: field.event for name, field in FIELDS.items()}, event_ids, event_time, _match_event_id
)
LETTERS: QueryTarget[DeadLetter] = QueryTarget(
    {name: field.letter for name, field in FIELDS.items()}, letter_ids, letter_time, lambda text: None
)
