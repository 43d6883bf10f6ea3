"""Times and lengths of time at the edges: numbers inside, text outside."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = -62_135_596_800_000_000
_LAST = 253_402_300_799_999_999
"""Microseconds of the first and last moment that RFC 3339 can write (years 1 to 9999)."""
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
DURATION = r"(?:[0-9]{1,13}(?:\.[0-9]{1,9})?(?:ms|s|m|h|d))+"
"""How a length of time is written: `250ms`, `60s`, `15m`, `24h`, `7d`, `1h30m`."""
_DURATION = re.compile(DURATION)
_PART = re.compile(r"([0-9.]+)([a-z]+)")
LONGEST = 36_500 * 86_400.0
"""A hundred years, in seconds."""


def rfc3339(micros: int | None) -> str | None:
    """`2026-01-31T12:00:00.000001Z`; None for None and for what no calendar year from 1 to 9999 holds."""
    if micros is None or not _FIRST <= micros <= _LAST:
        return None
    moment = _EPOCH + timedelta(microseconds=micros)
    return moment.isoformat(timespec="microseconds" if micros % 1000 else "milliseconds").replace("+00:00", "Z")


def micros(text: str) -> int:
    """The microseconds of an RFC 3339 time; a time without zone is UTC. Raises ValueError where it is none."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def seconds(text: str) -> float:
    """The seconds of a length of time such as `15m`. Raises ValueError where it is none, or beyond a hundred years."""
    if len(text) > 64 or not _DURATION.fullmatch(text):
        raise ValueError(f"not a length of time such as 250ms, 60s, 15m, 24h or 7d: {text[:64]!r}")
    length = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if length > LONGEST:
        raise ValueError(f"longer than a hundred years: {text!r}")
    return length


def length(seconds: float) -> str:
    """The text of a length of time, in the largest unit that says it to the millisecond: `15m`, `90s`, `250ms`."""
    milliseconds = round(seconds * 1000)
    for unit, size in reversed(_UNITS.items()):
        number, rest = divmod(milliseconds, round(size * 1000))
        if number and not rest:
            return f"{number}{unit}"
    return f"{seconds * 1000:g}ms" if seconds else "0s"
