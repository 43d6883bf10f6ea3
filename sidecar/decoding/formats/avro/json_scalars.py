"""Checks of single JSON values for Avro types without parts.

These are numbers, text, times, decimals, enums and fixed. `json_validator` lists the accepted forms.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any, TypeAlias
from uuid import UUID

from sidecar.decoding.formats.avro.schema_parser import (
    AvroArray,
    AvroEnum,
    AvroFixed,
    AvroMap,
    AvroPrimitive,
    AvroRecord,
    AvroUnion,
    Type,
)
from sidecar.domain.json_path import PathFault, describe_value

Check: TypeAlias = Callable[[Any], PathFault | None]
"""Function that returns None for a valid value, else its fault."""

_MAX_TEXT_NUMBER = 2_500
"""Characters of a number written as text."""
_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?\s*")
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,19}")
_DURATION = re.compile(r"[+-]?P(?=.)[0-9.,YMWDTHS+-]*")
_NO_FINITE_NUMBER = {"NaN", "Infinity", "-Infinity", "INF", "-INF"}


class TypeMismatch(PathFault):
    """A value of another type than expected.

    Its message is built only when it is read, because most mismatches are of union branches where another branch fits.
    """

    def __init__(self, expected: str, value: Any) -> None:
        super().__init__("schema.mismatch", "")
        self._expected, self._value = expected, value

    @property
    def message(self) -> str:
        return f"expected {self._expected}, found {describe_value(self._value)}"


def type_name(type: Type) -> str:
    """Return the name of a type for messages."""
    match type:
        case AvroPrimitive("bytes", "decimal"):
            return f"decimal({type.precision},{type.scale})"
        case AvroPrimitive(name, logical):
            return f"{name} ({logical})" if logical else name
        case AvroFixed(name, size):
            return (
                f"decimal({type.precision},{type.scale})"
                if type.logical == "decimal"
                else f"{_short(name)} ({size} bytes)"
            )
        case AvroEnum(name):
            return f"enum {_short(name)}"
        case AvroArray():
            return "array"
        case AvroMap():
            return "map"
        case AvroRecord(name):
            return f"record {_short(name)}"
        case AvroUnion(branches):
            names = list(dict.fromkeys(type_name(branch) for branch in branches))
            if len(names) > 6:
                names = [*names[:5], f"{len(names) - 5} more"]
            return " or ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names) or "nothing"


def _short(name: str) -> str:
    return name.rpartition(".")[2][:80]


def one_of(expected: str, accepts: Callable[[Any], bool]) -> Check:
    def check(value: Any) -> PathFault | None:
        return None if accepts(value) else TypeMismatch(expected, value)

    return check


def primitive(type: AvroPrimitive) -> Check:
    match type:
        case AvroPrimitive("int", None):
            return one_of("int", _accepts_whole(-(1 << 31), (1 << 31) - 1))
        case AvroPrimitive("long", None):
            return one_of("long", _accepts_long)
        case AvroPrimitive("int" | "long", "date"):
            return one_of("date (ISO 8601 text or days)", _accepts_date)
        case AvroPrimitive("int" | "long", str() as logical) if logical.startswith("time-"):
            return one_of(f"time (ISO 8601 text or {_unit(logical)})", _accepts_time)
        case AvroPrimitive("int" | "long", str() as logical):
            return one_of(f"timestamp (ISO 8601 text or {_unit(logical)})", _accepts_timestamp)
        case AvroPrimitive("string", "uuid"):
            return one_of("uuid", _accepts_uuid)
        case AvroPrimitive("bytes", "decimal"):
            return one_of(type_name(type), _accepts_decimal(type.precision, type.scale))
    return one_of(type.name, _PLAIN[type.name])


def _unit(logical: str) -> str:
    return {"millis": "milliseconds", "micros": "microseconds", "nanos": "nanoseconds"}[logical.rpartition("-")[2]]


def _accepts_whole(least: int, most: int) -> Callable[[Any], bool]:
    def accepts(value: Any) -> bool:
        if type(value) is int:
            return least <= value <= most
        return type(value) is float and value.is_integer() and least <= value <= most

    return accepts


_accepts_long = _accepts_whole(-(1 << 63), (1 << 63) - 1)


def _accepts_number(value: Any) -> bool:
    return type(value) in (int, float) or (type(value) is str and value in _NO_FINITE_NUMBER)


_PLAIN: dict[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: type(value) is bool,
    "float": _accepts_number,
    "double": _accepts_number,
    "string": lambda value: type(value) is str,
    "bytes": lambda value: type(value) in (str, bytes),
}


def enumeration(enum: AvroEnum) -> Check:
    symbols = frozenset(enum.symbols)
    shown = ", ".join(enum.symbols[:10]) + (f" and {len(symbols) - 10} more" if len(symbols) > 10 else "")
    expected = f"{type_name(enum)} ({shown[:400]})"

    def check(value: Any) -> PathFault | None:
        if type(value) is str and (value in symbols or enum.default is not None):
            return None
        return TypeMismatch(expected, value)

    return check


def _iso(parse: Callable[[str], Any], value: str) -> bool:
    if _WHOLE_NUMBER.fullmatch(value):
        return True
    try:
        parse(value)
    except ValueError:
        return False
    return True


def _accepts_timestamp(value: Any) -> bool:
    if type(value) is str:
        return len(value) <= 64 and _iso(datetime.fromisoformat, value.strip())
    return _accepts_long(value) or (type(value) is float and isfinite(value))


def _accepts_date(value: Any) -> bool:
    if type(value) is str:
        return len(value) <= 64 and (_iso(date.fromisoformat, value) or _iso(datetime.fromisoformat, value))
    return _accepts_long(value)


def _accepts_time(value: Any) -> bool:
    if type(value) is str:
        return len(value) <= 64 and _iso(time.fromisoformat, value)
    return _accepts_long(value)


def _accepts_uuid(value: Any) -> bool:
    if type(value) is not str or len(value) > 64:
        return False
    try:
        UUID(value)
    except ValueError:
        return False
    return True


def _accepts_decimal(precision: int, scale: int) -> Callable[[Any], bool]:
    def fits(number: Decimal, exact: bool) -> bool:
        _, digits, exponent = number.as_tuple()
        if not isinstance(exponent, int):
            return False
        if not number:
            return True
        whole, fraction = number.adjusted() + 1, -exponent
        return whole <= precision - scale and (not exact or fraction <= scale or not any(digits[scale - fraction :]))

    def accepts(value: Any) -> bool:
        match value:
            case bool():
                return False
            case int():
                return value.bit_length() <= 8 * _MAX_TEXT_NUMBER and fits(Decimal(value), exact=True)
            case float():
                # Binary fractions have digits that no producer wrote: digits beyond the scale are ignored.
                return isfinite(value) and fits(Decimal(repr(value)), exact=False)
            case str() if len(value) <= _MAX_TEXT_NUMBER and _NUMBER.fullmatch(value):
                try:
                    return fits(Decimal(value.strip()), exact=True)
                except InvalidOperation:
                    return False
            case str():
                return _is_base64(value) or (not value.isprintable() and all(letter <= "\xff" for letter in value))
        return isinstance(value, bytes)

    return accepts


def _base64_length(text: str) -> int | None:
    """Compute the number of bytes that a base64 text encodes; None where it is no base64."""
    try:
        return len(base64.b64decode(text.translate(_URL_SAFE), validate=True))
    except (binascii.Error, ValueError):
        return None


_URL_SAFE = str.maketrans("-_", "+/")


def _is_base64(text: str) -> bool:
    return bool(text) and _base64_length(text) is not None


def accepts_fixed(fixed: AvroFixed) -> Callable[[Any], bool]:
    size = fixed.size
    decimal = _accepts_decimal(fixed.precision, fixed.scale) if fixed.logical == "decimal" else None

    def accepts(value: Any) -> bool:
        if decimal is not None and type(value) in (int, float, str) and decimal(value):
            return True
        if fixed.logical == "uuid" and _accepts_uuid(value):
            return True
        if fixed.logical == "duration" and (_is_duration(value)):
            return True
        if type(value) is bytes:
            return len(value) == size
        if type(value) is not str or len(value) > 2 * size + 4:
            return False
        if len(value) == size and all(letter <= "\xff" for letter in value):
            return True
        return (len(value) == 2 * size and all(letter in _HEX for letter in value)) or _base64_length(value) == size

    return accepts


_HEX = frozenset("0123456789abcdefABCDEF")


def _is_duration(value: Any) -> bool:
    match value:
        case str():
            return len(value) <= 64 and _DURATION.fullmatch(value) is not None
        case dict():
            return set(value) <= {"months", "days", "millis"} and all(map(_accepts_long, value.values()))
    return False
