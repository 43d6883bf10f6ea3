"""Conversion of decoded bodies, headers and texts of any bytes to JSON, without losing digits of numbers."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

MAX_SHOWN_DEPTH = 150
"""Levels of nesting to show. Deeper values are replaced by a sentence."""
MAX_SHOWN_INT_BITS = 4_000
"""Size of integers above which they are shown in hex, because Python takes quadratic time to write them in decimal."""
_TEXT_CONTROLS = frozenset("\t\n\r")
_ESCAPES = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\\.", re.DOTALL
)
"""Escapes in JSON text: a surrogate pair, a lone surrogate, or any other."""
_LONE_SURROGATE_BYTES = 6
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class ExactFloat(float):
    """A number in a JSON text that a float cannot hold exactly, with all its digits."""

    __slots__ = ("digits",)

    def __new__(cls, digits: str) -> ExactFloat:
        number = super().__new__(cls, digits)
        number.digits = digits
        return number

    def __repr__(self) -> str:
        return self.digits

    digits: str
    """The number in its original spelling."""


def parse_float(digits: str) -> float:
    """Parse a number with a fraction or an exponent so that no digit is lost (a `float_hook` of msgspec)."""
    number = float(digits)
    is_exact = math.isfinite(number) and Decimal(repr(number)) == Decimal(digits)
    return number if is_exact else ExactFloat(digits)


def encode_json(value: Any) -> bytes:
    """Encode a value as JSON, numbers with all their digits."""
    return _encoder.encode(value)


def _encode_exact(value: Any) -> Any:
    if isinstance(value, ExactFloat):
        return msgspec.Raw(value.digits.encode())
    raise NotImplementedError(f"values of type {type(value).__name__} are not JSON")


_encoder = msgspec.json.Encoder(enc_hook=_encode_exact)


def to_text(value: str) -> str:
    """Escape the lone surrogates of a text (bytes that were not UTF-8), so that it can be encoded."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "backslashreplace").decode()
    return value


def bytes_to_json(data: bytes | bytearray | memoryview | None) -> Any:
    """Return bytes as text if they are readable UTF-8, else as `{"base64": …}`."""
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


def to_json(value: Any) -> Any:
    """Convert a decoded body to JSON that any encoder of msgspec can write.

    Decimals, UUIDs and times become text, bytes become the result of `bytes_to_json`. Numbers keep all their digits.
    NaN and infinity, which JSON cannot write, become text.
    """
    return _convert(value, 0, lambda number: msgspec.Raw(number.digits.encode()))


def to_json_values(value: Any) -> Any:
    """Convert a decoded body as `to_json` does, with numbers that can be compared. Encode it with `encode_json`."""
    return _convert(value, 0, lambda number: number)


def _convert(value: Any, depth: int, convert_exact: Callable[[ExactFloat], Any]) -> Any:
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return to_text(value)
    if isinstance(value, int):
        return int(value) if value.bit_length() < MAX_SHOWN_INT_BITS else hex(value)
    if isinstance(value, ExactFloat):
        return convert_exact(value)
    if isinstance(value, msgspec.Raw):  # a number that was converted before
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return _convert_nested(value, depth, convert_exact)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes_to_json(value)
    if isinstance(value, Decimal | UUID):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return to_text(repr(value)[:200])


def _convert_nested(value: Any, depth: int, convert_exact: Callable[[ExactFloat], Any]) -> Any:
    if depth >= MAX_SHOWN_DEPTH:
        return f"(deeper than {MAX_SHOWN_DEPTH} levels: not shown)"
    if isinstance(value, Mapping):
        return {to_text(str(name)): _convert(item, depth + 1, convert_exact) for name, item in value.items()}
    return [_convert(item, depth + 1, convert_exact) for item in value]


read_exact_json: Callable[[bytes], Any] = msgspec.json.Decoder(float_hook=parse_float).decode
"""Parses JSON so that numbers keep all their digits. Raises msgspec.DecodeError, ValueError and RecursionError."""


def read_lenient_json(text: bytes) -> Any:
    """Parse JSON with all digits of its numbers; a lone surrogate is read as the text of its escape.

    A lone surrogate is not valid Unicode, but many writers produce it. Raises what `read_exact_json` raises.
    """
    try:
        return read_exact_json(text)
    except msgspec.DecodeError:
        escaped = _ESCAPES.sub(_escape_lone_surrogate, text) if _SURROGATE.search(text) is not None else text
        if escaped == text:
            raise
        return read_exact_json(escaped)


def _escape_lone_surrogate(escape: re.Match[bytes]) -> bytes:
    return b"\\" + escape[0] if len(escape[0]) == _LONE_SURROGATE_BYTES else escape[0]


def with_all_digits(text: bytes | None, body: Any) -> Any:
    """Parse the JSON text of a body again, so that its numbers keep all their digits.

    Other bodies are returned unchanged.
    """
    if text is None or not isinstance(body, dict | list):
        return body
    try:
        exact = read_lenient_json(text.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError):
        return body
    return exact if exact == body else body
