"""Whether a JSON value is what an Avro schema describes, as people write JSON, and if not, where and why.

JSON events are not Avro JSON. Accepted, because it is sent every day and a reader knows what is meant:

- a union's value bare (`"x"`), or in Avro's own JSON encoding (`{"string": "x"}`);
- a whole number with a fraction of zero (`3.0`) as int or long; any number as float or double, and `"NaN"`,
  `"Infinity"`;
- bytes as any text (base64 or characters), fixed as text of that many characters, or as base64 or hex of that many
  bytes;
- decimals as numbers, as text of a number, or as bytes;
- dates, times and timestamps as ISO 8601 text or as Avro's numbers; durations as text, or as an object of numbers;
- an enum's unknown symbol where the enum has a default, as Avro readers take it;
- a missing field where it has a default or may be null (writers of JSON leave nulls out), or stands under an alias;
- fields that the schema does not know: a newer producer adds them before its schema is registered everywhere, and
  every Avro reader would skip them. What is *checked* is what consumers rely on: the fields that the schema promises.

A schema is compiled to one function for each type. A function returns None for a good value, else a Fault whose path
grows on the way back. A record asks for the exact Python type first (`quick`), so most fields cost no call.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any, TypeAlias
from uuid import UUID

from sidecar.decoding.avro import ABSENT, Array, Enum, Fixed, Map, Primitive, Record, Type, Union
from sidecar.decoding.avro_limits import MAX_DEPTH
from sidecar.decoding.paths import Fault, described, key_segment

Check: TypeAlias = Callable[[Any], Fault | None]

_MAX_TEXT_NUMBER = 2_500
"""Characters of a number written as text."""
_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?\s*")
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,19}")
_DURATION = re.compile(r"[+-]?P(?=.)[0-9.,YMWDTHS+-]*")
_NO_FINITE_NUMBER = {"NaN", "Infinity", "-Infinity", "INF", "-INF"}


def compile_check(root: Type, recursive: bool) -> Check:
    """The check for values of this schema. A recursive one looks at the value's depth first, so that no body can
    exhaust the stack."""
    check = _Checks().of(root)
    if not recursive:
        return check

    def bounded(value: Any) -> Fault | None:
        if _deeper_than(value, MAX_DEPTH):
            return Fault("decode.limit", f"expected values at most {MAX_DEPTH} deep")
        return check(value)

    return bounded


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True


def type_name(type: Type) -> str:
    """How a type is called in a message."""
    match type:
        case Primitive("bytes", "decimal"):
            return f"decimal({type.precision},{type.scale})"
        case Primitive(name, logical):
            return f"{name} ({logical})" if logical else name
        case Fixed(name, size):
            return (
                f"decimal({type.precision},{type.scale})"
                if type.logical == "decimal"
                else f"{_short(name)} ({size} bytes)"
            )
        case Enum(name):
            return f"enum {_short(name)}"
        case Array():
            return "array"
        case Map():
            return "map"
        case Record(name):
            return f"record {_short(name)}"
        case Union(branches):
            names = list(dict.fromkeys(type_name(branch) for branch in branches))
            if len(names) > 6:
                names = [*names[:5], f"{len(names) - 5} more"]
            return " or ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names) or "nothing"


def _short(name: str) -> str:
    return name.rpartition(".")[2][:80]


def _mismatch(expected: str, value: Any) -> Fault:
    return Fault("schema.mismatch", f"expected {expected}, found {described(value)}")


class _Checks:
    """One function for each type, made once; a recursive type finds its own by the time it is called."""

    def __init__(self) -> None:
        self._made: dict[int, Check] = {}
        self._open: set[int] = set()

    def of(self, type: Type) -> Check:
        key = id(type)
        if key in self._open:
            return lambda value: self._made[key](value)
        if key not in self._made:
            self._open.add(key)
            self._made[key] = self._make(type)
            self._open.remove(key)
        return self._made[key]

    def _make(self, type: Type) -> Check:
        match type:
            case Primitive():
                return _primitive(type)
            case Fixed():
                return _one_of(type_name(type), _accepts_fixed(type))
            case Enum():
                return _enum(type)
            case Array(items):
                return _array(self.of(items), _quick(items))
            case Map(values):
                return _map(self.of(values), _quick(values))
            case Union(branches):
                return _union(type, [(branch, self.of(branch)) for branch in branches])
            case Record():
                return _record(type, [self.of(each.type) for each in type.fields])


def _quick(type: Type) -> frozenset[Any]:
    """The Python types whose every value is right, so that no look at the value is needed."""
    match type:
        case Primitive("null"):
            return frozenset({_NoneType})
        case Primitive("boolean"):
            return frozenset({bool})
        case Primitive("float" | "double"):
            return frozenset({int, float})
        case Primitive("string", None):
            return frozenset({str})
        case Primitive("bytes", None):
            return frozenset({str, bytes})
        case Union(branches):
            return frozenset().union(*map(_quick, branches))
    return frozenset()


_NoneType = type(None)


# --- records, arrays, maps, unions -----------------------------------------------------------------------------------


def _record(record: Record, checks: list[Check]) -> Check:
    expected = type_name(record)
    fields = [(each.name, _quick(each.type), check) for each, check in zip(record.fields, checks, strict=True)]
    absent = {
        each.name: _absent(each.type, each.default, each.aliases, check)
        for each, check in zip(record.fields, checks, strict=True)
    }

    def check(value: Any) -> Fault | None:
        if type(value) is not dict:
            return _mismatch(expected, value)
        for name, quick, step in fields:
            found = value.get(name, ABSENT)
            if type(found) in quick:
                continue
            fault = step(found) if found is not ABSENT else absent[name](value)
            if fault is not None:
                return fault.within(key_segment(name))
        return None

    return check


def _absent(
    type: Type, default: Any, aliases: tuple[str, ...], check: Check
) -> Callable[[Mapping[str, Any]], Fault | None]:
    """What to say of a record in which a field is missing."""
    optional = default is not ABSENT or _nullable(type)
    expected = type_name(type)

    def look(value: Mapping[str, Any]) -> Fault | None:
        for alias in aliases:
            if alias in value:
                return check(value[alias])
        return (
            None if optional else Fault("schema.mismatch", f"expected {expected}, found nothing: the field is missing")
        )

    return look


def _nullable(type: Type) -> bool:
    match type:
        case Primitive("null"):
            return True
        case Union(branches):
            return any(map(_nullable, branches))
    return False


def _array(item: Check, quick: frozenset[Any]) -> Check:
    def check(value: Any) -> Fault | None:
        if type(value) is not list:
            return _mismatch("array", value)
        for index, each in enumerate(value):
            if type(each) not in quick:
                fault = item(each)
                if fault is not None:
                    return fault.within(f"[{index}]")
        return None

    return check


def _map(entry: Check, quick: frozenset[Any]) -> Check:
    def check(value: Any) -> Fault | None:
        if type(value) is not dict:
            return _mismatch("map", value)
        for key, each in value.items():
            if type(each) not in quick:
                fault = entry(each)
                if fault is not None:
                    return fault.within(key_segment(key))
        return None

    return check


def _union(union: Union, branches: list[tuple[Type, Check]]) -> Check:
    quick = _quick(union)
    checks = [check for _, check in branches]
    tagged = {tag: check for branch, check in branches for tag in _tags(branch)}

    def check(value: Any) -> Fault | None:
        if type(value) in quick:
            return None
        for step in checks:
            if step(value) is None:
                return None
        if type(value) is dict and len(value) == 1:
            (tag, inner), *_ = value.items()
            if tag in tagged:
                fault = tagged[tag](inner)
                return None if fault is None else fault.within(key_segment(tag))
        return _closest(union, branches, value)

    return check


def _tags(branch: Type) -> tuple[str, ...]:
    """What Avro's JSON encoding names a branch: a named type's full name, else the type's (here the short name too)."""
    match branch:
        case Record(name) | Enum(name) | Fixed(name):
            return name, name.rpartition(".")[2]
        case Primitive(name):
            return (name,)
        case Array():
            return ("array",)
        case Map():
            return ("map",)
    return ()


def _closest(union: Union, branches: list[tuple[Type, Check]], value: Any) -> Fault:
    """Of a union that does not take a value, what its closest branch says: the one branch of the same JSON kind, or of
    several the one that got deepest into it. Where no branch is of its kind, what the union takes."""
    faults = [fault for branch, check in branches if _same_kind(branch, value) and (fault := check(value))]
    deepest = max(faults, key=_deep, default=None)
    if deepest is None or (len(faults) > 1 and not deepest.depth):
        return _mismatch(type_name(union), value)
    return deepest


def _deep(fault: Fault) -> int:
    return fault.depth


def _same_kind(branch: Type, value: Any) -> bool:
    match value:
        case dict():
            return isinstance(branch, Record | Map)
        case list():
            return isinstance(branch, Array)
        case str():
            return isinstance(branch, Enum | Fixed) or (isinstance(branch, Primitive) and branch.logical is not None)
        case bool() | None:
            return False
    return isinstance(branch, Primitive) and branch.name in ("int", "long", "bytes")


# --- single values ---------------------------------------------------------------------------------------------------


def _one_of(expected: str, accepts: Callable[[Any], bool]) -> Check:
    def check(value: Any) -> Fault | None:
        return None if accepts(value) else _mismatch(expected, value)

    return check


def _primitive(type: Primitive) -> Check:
    match type:
        case Primitive("int", None):
            return _one_of("int", _accepts_whole(-(1 << 31), (1 << 31) - 1))
        case Primitive("long", None):
            return _one_of("long", _accepts_long)
        case Primitive("int" | "long", "date"):
            return _one_of("date (ISO 8601 text or days)", _accepts_date)
        case Primitive("int" | "long", str() as logical) if logical.startswith("time-"):
            return _one_of(f"time (ISO 8601 text or {_unit(logical)})", _accepts_time)
        case Primitive("int" | "long", str() as logical):
            return _one_of(f"timestamp (ISO 8601 text or {_unit(logical)})", _accepts_timestamp)
        case Primitive("string", "uuid"):
            return _one_of("uuid", _accepts_uuid)
        case Primitive("bytes", "decimal"):
            return _one_of(type_name(type), _accepts_decimal(type.precision, type.scale))
    return _one_of(type.name, _PLAIN[type.name])


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


def _enum(enum: Enum) -> Check:
    symbols = frozenset(enum.symbols)
    shown = ", ".join(enum.symbols[:10]) + (f" and {len(symbols) - 10} more" if len(symbols) > 10 else "")
    expected = f"{type_name(enum)} ({shown[:400]})"

    def check(value: Any) -> Fault | None:
        if type(value) is str and (value in symbols or enum.default is not None):
            return None
        return _mismatch(expected, value)

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
                # Binary fractions have digits that nobody wrote: what lies beyond the scale is not looked at.
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
    """How many bytes the base64 text stands for; None where it is none."""
    try:
        return len(base64.b64decode(text.translate(_URL_SAFE), validate=True))
    except (binascii.Error, ValueError):
        return None


_URL_SAFE = str.maketrans("-_", "+/")


def _is_base64(text: str) -> bool:
    return bool(text) and _base64_length(text) is not None


def _accepts_fixed(fixed: Fixed) -> Callable[[Any], bool]:
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
