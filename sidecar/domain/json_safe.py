"""Decoded bodies, headers and texts as values that JSON can hold, whatever bytes they were made of."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

DEEPEST = 150
"""Levels of nesting that are shown; what lies deeper is replaced by a sentence."""
_WIDEST_INT = 1 << 63
_TEXT_CONTROLS = frozenset("\t\n\r")


def text(value: str) -> str:
    """The text with lone surrogates (bytes that were not UTF-8) written as escapes, so that it can be encoded."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "backslashreplace").decode()
    return value


def octets(data: bytes | bytearray | memoryview | None) -> Any:
    """Bytes as text where they are readable UTF-8, else `{"base64": …}`."""
    if data is None:
        return None
    data = bytes(data)
    try:
        decoded = data.decode()
    except UnicodeDecodeError:
        decoded = None
    if decoded is not None and (decoded.isprintable() or _readable(decoded)):
        return decoded
    return {"base64": base64.b64encode(data).decode()}


def _readable(decoded: str) -> bool:
    return all(char.isprintable() or char in _TEXT_CONTROLS for char in decoded)


def plain(value: Any, depth: int = 0) -> Any:
    """A decoded body as JSON: decimals, UUIDs and times as text; bytes by `octets`; integers beyond 64 bits and numbers
    that JSON has no word for (NaN, infinity) as text."""
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return text(value)
    if isinstance(value, int):
        return int(value) if -_WIDEST_INT <= value < 2 * _WIDEST_INT else _big(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return _nested(value, depth)
    if isinstance(value, bytes | bytearray | memoryview):
        return octets(value)
    if isinstance(value, Decimal | UUID):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return text(repr(value)[:200])


def _nested(value: Any, depth: int) -> Any:
    if depth >= DEEPEST:
        return f"(deeper than {DEEPEST} levels: not shown)"
    if isinstance(value, Mapping):
        return {text(str(name)): plain(item, depth + 1) for name, item in value.items()}
    return [plain(item, depth + 1) for item in value]


def _big(value: int) -> str:
    # Python refuses to write very long integers in decimal: they take quadratic time.
    return str(value) if value.bit_length() < 4_000 else hex(value)
