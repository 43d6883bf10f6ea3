"""Comparison of values with those of a query: numbers as numbers, times as times, everything else as text."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from sidecar.domain import timestamps
from sidecar.query.ast import Comparison, ExactText, RegexText, Value, Wildcard

Test = Callable[[str], bool]
"""Predicate that tells whether a text matches a condition."""
_NUMBER = re.compile(r"[-+]?[0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][-+]?[0-9]{1,3})?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ORDERS: dict[Comparison, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
MAX_SEARCHED_CHARACTERS = 65_536
"""Characters of a text that a regular expression searches."""


def parse_number(text: str) -> Decimal | None:
    """Parse a number. Returns None for other text."""
    return Decimal(text) if len(text) <= 90 and _NUMBER.fullmatch(text) else None


def parse_time(text: str) -> int | None:
    """Parse a date or an RFC 3339 time into microseconds. Returns None for other text."""
    if len(text) > 40 or not timestamps.CALENDAR_TIME.fullmatch(text):
        return None
    try:
        return timestamps.parse_rfc3339(text)
    except (ValueError, OverflowError):
        return None


def build_text_test(value: Value) -> Test:
    """Build a predicate that is True for texts that equal or match a value."""
    match value:
        case ExactText(text=text):
            return text.__eq__
        case Wildcard(parts=parts):
            return _build_wildcard_test(parts)
        case RegexText(pattern=pattern, ignore_case=ignore_case):
            from sidecar.query.regex import build_searcher  # only who asks for it pays for RE2

            search = build_searcher(pattern, ignore_case=ignore_case)
            return lambda text: search(text[:MAX_SEARCHED_CHARACTERS])


def _build_wildcard_test(parts: tuple[str, ...]) -> Test:
    first, *between, last = parts
    if not between and not last:
        return lambda text: text.startswith(first)
    if not between and not first:
        return lambda text: text.endswith(last)
    middle = [part for part in between if part]

    def test(text: str) -> bool:
        if len(text) < len(first) + len(last) or not (text.startswith(first) and text.endswith(last)):
            return False
        at, end = len(first), len(text) - len(last)
        for part in middle:
            at = text.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return True

    return test


def build_order_test(comparison: Comparison, text: str) -> Test:
    """Build a predicate for `>`, `>=`, `<` and `<=`.

    The limit must be a number or a time. The predicate is True for values of the same kind on the requested side of it.
    """
    compare = _ORDERS[comparison]
    if (limit := parse_number(text)) is not None:
        return lambda candidate: (n := parse_number(candidate)) is not None and compare(n, limit)
    bound = parse_time(text)
    assert bound is not None
    return lambda candidate: (m := parse_time(candidate)) is not None and compare(m, bound)


def build_value_test(comparison: Comparison, value: Value) -> Callable[[Any], bool]:
    """Build a predicate for values of a body, of any type."""
    text_matches = (
        build_order_test(comparison, value.text)
        if comparison and isinstance(value, ExactText)
        else build_text_test(value)
    )
    exact = value.text if isinstance(value, ExactText) else None
    limit = parse_number(exact) if exact is not None else None
    bound = parse_time(exact) if exact is not None else None
    compare = _ORDERS[comparison] if comparison else operator.eq

    def test(candidate: Any) -> bool:
        if limit is not None and isinstance(candidate, int | float | Decimal) and not isinstance(candidate, bool):
            return _compare_number(compare, candidate, limit)
        if bound is not None and isinstance(candidate, date):
            return compare(_micros(candidate), bound)
        return text_matches(as_text(candidate))

    return test


def _compare_number(compare: Callable[[Any, Any], bool], number: float | Decimal, limit: Decimal) -> bool:
    try:
        if isinstance(number, float):
            return number == number and compare(Decimal(repr(number)), limit)
        return compare(number, limit)
    except InvalidOperation:  # a signaling NaN
        return False


def _micros(day: date) -> int:
    if not isinstance(day, datetime):
        return (day - _EPOCH.date()) // timedelta(microseconds=1)
    aware = day if day.tzinfo else day.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1)


def as_text(value: Any) -> str:
    """Format a value of a body as a query does. Huge numbers are cut."""
    match value:
        case str():
            return value
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() if value.bit_length() > 4_000:
            return hex(value)[:100]
        case bytes():
            return value[:MAX_SEARCHED_CHARACTERS].decode("utf-8", "backslashreplace")
        case datetime():
            return timestamps.format_rfc3339(_micros(value)) or ""
        case date() | time():
            return value.isoformat()
        case Decimal():
            return str(value)[:200]
        case int() | float() | UUID():
            return str(value)
        case dict():
            return "{}"
        case list() | tuple():
            return "[]"
    return str(value)[:MAX_SEARCHED_CHARACTERS]
