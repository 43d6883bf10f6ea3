"""Conversion of times and durations between numbers (internal) and text (configuration, API, command line)."""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MIN_RFC3339_US = -62_135_596_800_000_000
"""0001-01-01T00:00:00Z in microseconds: the first moment that RFC 3339 can write."""
_MAX_RFC3339_US = 253_402_300_799_999_999
"""9999-12-31T23:59:59.999999Z in microseconds: the last one."""
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
DURATION = r"(?:[0-9]{1,13}(?:\.[0-9]{1,9})?(?:ms|s|m|h|d))+"
"""Regular expression of a duration: `250ms`, `60s`, `15m`, `24h`, `7d`, `1h30m`."""
_DURATION = re.compile(DURATION)
_DURATION_PART = re.compile(r"([0-9.]+)([a-z]+)")
MAX_DURATION_S = 36_500 * 86_400.0
"""A hundred years."""
_LONG_UNIT_SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0, "week": 604_800.0}
_PAST = re.compile(rf"(?:({DURATION})|([0-9]{{1,13}}(?:\.[0-9]{{1,9}})?) ?({'|'.join(_LONG_UNIT_SECONDS)})s?)(?: ago)?")
CALENDAR_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9:.,]{2,20}(?:Z|[-+][0-9:]{2,8})?)?")
"""Regular expression of a date, or of a time as in RFC 3339, also with a space instead of the `T`."""
_MAX_MOMENT_CHARACTERS = 64


def format_rfc3339(micros: int | None) -> str | None:
    """Format microseconds since 1970 as `2026-01-31T12:00:00.000001Z`.

    Returns None for None, and for times outside the years 1 to 9999, which RFC 3339 cannot represent.
    """
    if micros is None or not _MIN_RFC3339_US <= micros <= _MAX_RFC3339_US:
        return None
    moment = _EPOCH + timedelta(microseconds=micros)
    return moment.isoformat(timespec="microseconds" if micros % 1000 else "milliseconds").replace("+00:00", "Z")


def parse_rfc3339(text: str) -> int:
    """Parse an RFC 3339 time into microseconds since 1970. A time without a zone is UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since_epoch = moment - _EPOCH
    return (since_epoch.days * 86_400 + since_epoch.seconds) * 1_000_000 + since_epoch.microseconds


def parse_duration(text: str) -> float:
    """Parse a duration such as `15m` into seconds. Raises ValueError for other text and for more than 100 years."""
    if len(text) > 64 or not _DURATION.fullmatch(text):
        raise ValueError(f"not a duration such as 250ms, 60s, 15m, 24h or 7d: {text[:64]!r}")
    seconds = sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _DURATION_PART.findall(text))
    if seconds > MAX_DURATION_S:
        raise ValueError(f"longer than a hundred years: {text!r}")
    return seconds


def format_duration(seconds: float) -> str:
    """Format seconds in the largest unit that is exact to the millisecond: `15m`, `90s`, `250ms`."""
    milliseconds = round(seconds * 1000)
    for unit, size_s in reversed(_UNIT_SECONDS.items()):
        number, rest = divmod(milliseconds, round(size_s * 1000))
        if number and not rest:
            return f"{number}{unit}"
    return f"{seconds * 1000:g}ms" if seconds else "0s"


def parse_moment(text: str, now_us: int) -> int:
    """Parse a moment into microseconds since 1970. Raises ValueError for other text.

    It is an RFC 3339 time or date, `now`, or a duration before now: `10m`, `10m ago`, `10 minutes ago`.
    """
    stripped = text.strip()
    if len(stripped) <= _MAX_MOMENT_CHARACTERS:
        if stripped.lower() == "now":
            return now_us
        past = _PAST.fullmatch(stripped.lower())
        if past is not None:
            seconds = parse_duration(past[1]) if past[1] else float(past[2]) * _LONG_UNIT_SECONDS[past[3]]
            if seconds <= MAX_DURATION_S:
                return now_us - round(seconds * 1_000_000)
        elif CALENDAR_TIME.fullmatch(stripped):
            with contextlib.suppress(ValueError, OverflowError):
                return parse_rfc3339(stripped)
    raise ValueError(
        f"{text[:64]!r} is not a moment: expected a time such as 2026-01-31T12:00:00Z, a duration before now such "
        "as 10m or '10 minutes ago', or now"
    )
