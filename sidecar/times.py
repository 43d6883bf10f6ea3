"""RFC 3339 times at the edges: integers inside, text outside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = -62_135_596_800_000_000
_LAST = 253_402_300_799_999_999
"""Microseconds of the first and last moment that RFC 3339 can write (years 1 to 9999)."""


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
    return (moment - _EPOCH) // timedelta(microseconds=1)
