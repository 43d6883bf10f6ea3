"""Human-readable times and quantities."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> int:
    """Return the current time in microseconds since 1970."""
    return int(time.time() * 1e6)


def micros(written: str | None) -> int | None:
    """Parse an RFC 3339 time to microseconds since 1970. None if it is missing or invalid."""
    if not written:
        return None
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def clock(written: str | None) -> str:
    """Format a time of day in UTC, such as `10:14:48.465`."""
    if not written or "T" not in written:
        return "·"
    time = written.partition("T")[2].rstrip("Z")
    whole, _, part = time.partition(".")
    return f"{whole}.{part[:3]:0<3}"


def clock_in(written: str | None, cells: int) -> str:
    """Format a time as `10:14:48.465` if there is room for it, else as `10:14:48`."""
    whole = clock(written)
    return whole if len(whole) <= cells else whole[:8]


def span(milliseconds: float | None) -> str:
    """Format a duration in at most seven characters: `7 ms`, `1.24 s`, `3.1 min`."""
    if milliseconds is None:
        return "·"
    size = abs(milliseconds)
    if size < 1:
        return f"{milliseconds * 1000:.0f} µs" if size else "0 ms"
    if size < 999.5:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if abs(seconds) < 119.5:
        return f"{seconds:.2f} s" if abs(seconds) < 9.995 else f"{seconds:.1f} s"
    if abs(seconds) < 7_200:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h" if abs(seconds) < 172_800 else f"{seconds / 86_400:.1f} d"


def age(written: str | None, now: int) -> str:
    """Format the time since then, such as `4 s`. `now` is in microseconds."""
    at = micros(written)
    return "·" if at is None else coarse(max(0, now - at) / 1e6)


def coarse(seconds: float) -> str:
    """Format a duration in one unit: `4 s`, `12 min`, `3 h`, `2 d`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5_400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} d"


def count(number: int | None) -> str:
    """Format a count, such as `1,204`, or `1.2 M` from a million on. Unknown counts are `?`."""
    if number is None:
        return "?"
    return f"{number:,}" if abs(number) < 1_000_000 else f"{number / 1e6:.1f} M"


def since(written: str | None, now: int) -> str:
    """Format a past moment, such as `since 14:02`, with the date if it is half a day ago; empty if unknown."""
    at = micros(written)
    return "" if at is None else since_micros(at, now)


def since_micros(at: int, now: int) -> str:
    """Format a past moment in microseconds since 1970, such as `since 14:02`."""
    moment = datetime.fromtimestamp(at / 1e6, UTC)
    return moment.strftime("since %H:%M" if now - at < 43_200_000_000 else "since %b %d, %H:%M")


def newest_of(listed: int, total: int | None, noun: str) -> str:
    """Say of what a number of listed items counts: `12 flows`, `newest 200 of 25,000 letters`."""
    if total is None or total <= listed:
        return f"{count(listed)} {noun if listed != 1 else noun.removesuffix('s')}"
    return f"newest {count(listed)} of {count(total)} {noun}"


def rate(per_second: float | None) -> str:
    """Format a rate, such as `48/s` or `0.4/s`."""
    if per_second is None:
        return "?/s"
    if per_second == 0:
        return "0/s"
    return f"{per_second:,.0f}/s" if per_second >= 10 else f"{per_second:.1f}/s"
