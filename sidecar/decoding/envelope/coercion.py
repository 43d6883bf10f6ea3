"""Coercion of values in a record to fields of its event: an id to text, a time to microseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

MAX_ID_CHARACTERS = 512
"""Longest text that can be an id."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
_NUMBER_BASE = 1 << 128
_MAX_TIME_CHARACTERS = 64
_QUOTE = b'"'

EARLIEST_US = 31_536_000_000_000
"""The year 1971. A value that seems older is a small number that is not a time, or a time in an unknown unit."""
LATEST_US = 7_258_118_400_000_000
"""The year 2200."""


def to_text(value: Any) -> str | None:
    """Return an id or a name as text.

    Text stays as it is, numbers and UUIDs are formatted, header bytes are UTF-8; a JSON string in a header loses its
    quotes (Spring writes such headers, with `spring_json_header_types`, and Jackson such fields of Redis entries).
    Returns None if the text is empty or longer than 512 characters, and for other kinds of values (a map, a list, a
    boolean).
    """
    kind = value.__class__
    if kind is int:
        return str(value) if -_NUMBER_BASE < value < _NUMBER_BASE else None
    if kind is str:
        text: str = value
    elif kind is bytes and len(value) <= 4 * MAX_ID_CHARACTERS:
        text = value.decode("utf-8", "backslashreplace") if value[:1] != _QUOTE else unquote(value)
    elif kind is UUID:
        text = str(value)
    elif kind is float and value - value == 0:  # neither infinite nor NaN
        text = repr(value)
    elif kind is Decimal and value.is_finite() and -MAX_ID_CHARACTERS < value.adjusted() < MAX_ID_CHARACTERS:
        text = format(value, "f")
    else:
        return None
    return text if 0 < len(text) <= MAX_ID_CHARACTERS else None


def unquote(value: bytes) -> str:
    """Return the content of a JSON string; other bytes as text."""
    if len(value) > 1 and value[:1] == _QUOTE and value[-1:] == _QUOTE:
        try:
            return msgspec.json.decode(value, type=str)
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
            pass
    return value.decode("utf-8", "backslashreplace")


def to_micros(value: Any) -> int | None:
    """Return a time in microseconds since 1970.

    Accepts ISO 8601 text, a datetime, or a number (or digits) of seconds, milliseconds, microseconds or nanoseconds,
    which are distinguished by their size. A time without a zone is UTC. Returns None for other values, and outside 1971
    to 2200.
    """
    kind = value.__class__
    micros: int | None = None
    if kind is bytes:
        head = value[: _MAX_TIME_CHARACTERS + 2]
        value = unquote(head) if head[:1] == _QUOTE else head[:_MAX_TIME_CHARACTERS].decode("ascii", "replace")
        kind = str
    if kind is str:
        micros = _from_text(value)
    elif kind is int or kind is float:
        micros = _from_number(value)
    elif kind is datetime:
        micros = _from_datetime(value)
    elif kind is Decimal and value.is_finite() and -20 < value.adjusted() < 20:
        micros = _from_number(float(value))
    return micros if micros is not None and EARLIEST_US <= micros < LATEST_US else None


def _from_datetime(moment: datetime) -> int:
    return (moment - (_NAIVE_EPOCH if moment.tzinfo is None else EPOCH)) // _MICROSECOND


def _from_number(number: int | float) -> int | None:
    if not 0 < number < 1e20:
        return None
    if number < 1e11:
        return round(number * 1_000_000)
    if number < 1e14:
        return round(number * 1_000)
    return round(number) if number < 1e17 else round(number) // 1_000


def _from_text(text: str) -> int | None:
    text = text.strip()
    if len(text) > _MAX_TIME_CHARACTERS:
        return None
    if text[:9].isdigit():  # first, because ISO 8601 without dashes would take some numbers for times of long ago
        if not (text.isascii() and text.replace(".", "", 1).isdigit()):
            return None
        return _from_number(float(text) if "." in text else int(text))
    try:
        return _from_datetime(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None
