"""What a value that was found in a record means as a word of its event: an id as text, a time in microseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

MAX_ID_CHARACTERS = 512
"""Characters of an id; a longer one is no id."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
_BIGGEST = 1 << 128

EARLIEST_US = 31_536_000_000_000
"""1971 in microseconds. What seems older is a small number that is no time, or a time in an unknown unit."""
LATEST_US = 7_258_118_400_000_000
"""2200 in microseconds."""


def to_text(value: Any) -> str | None:
    """An id or a name as text: text as it is, numbers and UUIDs written out, header bytes as UTF-8. None where it is
    empty, longer than 512 characters, or of another kind (a map, a list, a truth value)."""
    kind = value.__class__
    if kind is int:
        return str(value) if -_BIGGEST < value < _BIGGEST else None
    if kind is str:
        found: str = value
    elif kind is bytes and len(value) <= 4 * MAX_ID_CHARACTERS:
        found = value.decode("utf-8", "backslashreplace")
    elif kind is UUID:
        found = str(value)
    elif kind is float and value - value == 0:  # neither infinite nor NaN
        found = repr(value)
    elif kind is Decimal and value.is_finite() and -MAX_ID_CHARACTERS < value.adjusted() < MAX_ID_CHARACTERS:
        found = format(value, "f")
    else:
        return None
    return found if 0 < len(found) <= MAX_ID_CHARACTERS else None


def to_micros(value: Any) -> int | None:
    """A time in microseconds since 1970, from ISO 8601 text, a datetime, or a number (or text of digits) of seconds,
    milliseconds, microseconds or nanoseconds, told apart by their size. Without a zone it is UTC. None where it is
    none, or outside 1971 to 2200."""
    kind = value.__class__
    micros: int | None = None
    if kind is bytes:
        value = value[:64].decode("ascii", "replace")
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


def _from_text(written: str) -> int | None:
    written = written.strip()
    if len(written) > 64:
        return None
    if written[:9].isdigit():  # first, for ISO 8601 without dashes would take some numbers for times of long ago
        if not (written.isascii() and written.replace(".", "", 1).isdigit()):
            return None
        return _from_number(float(written) if "." in written else int(written))
    try:
        return _from_datetime(datetime.fromisoformat(written))
    except (ValueError, OverflowError):
        return None
