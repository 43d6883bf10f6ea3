"""Conversion of JSON values, and of decoded values, to the values that fastavro writes with a schema.

It accepts the forms in which bodies are shown: bytes as text or `{"base64": …}`, decimals and UUIDs as text, times as
ISO 8601 text or Avro's numbers. A union's value may be bare, or name its branch as Avro's JSON does (`{"string":
"x"}`). A bare value takes the first branch that it fits; branches whose decoded values have this form are tried first.
Fields that the schema of a record lacks are refused: a person edits the value here, and a typing error must not be
lost.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias
from uuid import UUID

from sidecar.decoding.formats.avro.json_scalars import TypeMismatch, type_name
from sidecar.decoding.formats.avro.schema_parser import (
    ABSENT,
    AvroArray,
    AvroEnum,
    AvroField,
    AvroFixed,
    AvroMap,
    AvroPrimitive,
    AvroRecord,
    AvroUnion,
    Type,
)
from sidecar.domain.json_path import PathFault, key_segment

MAX_DEPTH = 100
_BOUNDS = {"int": 31, "long": 63}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOGICAL: dict[str, type] = {"decimal": Decimal, "uuid": UUID, "date": date}
_PLAIN: dict[str, type] = {
    "null": type(None),
    "boolean": bool,
    "int": int,
    "long": int,
    "float": float,
    "double": float,
    "bytes": bytes,
    "string": str,
}
_PER_SECOND = {"millis": 1_000, "micros": 1_000_000, "nanos": 1_000_000_000}


Tried: TypeAlias = dict[tuple[int, int], Any]
"""Results by the identities of a value and a union's branch. Without them, similar branches would be tried again at
each level below: 2^depth times."""


def conform(value: Any, type: Type) -> Any:
    """Convert a value to the one that fastavro writes. Raises PathFault with the path if it does not fit."""
    return _conform(value, type, 0, {})


def _conform(value: Any, type: Type, depth: int, tried: Tried) -> Any:
    if depth > MAX_DEPTH:
        raise PathFault("decode.limit", f"expected values at most {MAX_DEPTH} deep")
    match type:
        case AvroPrimitive():
            return _primitive(value, type)
        case AvroFixed():
            return _convert_fixed(value, type)
        case AvroEnum(_, symbols, default):
            if value not in symbols and (default is None or not isinstance(value, str)):
                raise TypeMismatch(f"one of {', '.join(symbols[:20])}", value)
            return value if value in symbols else default
        case AvroArray(items):
            if not isinstance(value, list | tuple):
                raise TypeMismatch("array", value)
            return [_within(f"[{n}]", item, items, depth, tried) for n, item in enumerate(value)]
        case AvroMap(values):
            if not isinstance(value, Mapping):
                raise TypeMismatch("map", value)
            return {name: _within(key_segment(name), item, values, depth, tried) for name, item in value.items()}
        case AvroRecord():
            return _record(value, type, depth, tried)
        case AvroUnion(branches):
            return _union(value, branches, depth, tried)


def _within(segment: str, value: Any, type: Type, depth: int, tried: Tried) -> Any:
    try:
        return _conform(value, type, depth + 1, tried)
    except PathFault as fault:
        raise fault.within(segment) from None


def _record(value: Any, type: AvroRecord, depth: int, tried: Tried) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeMismatch(type_name(type), value)
    known = {name for each in type.fields for name in (each.name, *each.aliases)}
    for name in value:
        if name not in known:
            fields = ", ".join(each.name for each in type.fields[:20])
            raise PathFault("schema.mismatch", f"the schema has no such field; it has {fields}").within(
                key_segment(name)
            )
    made: dict[str, Any] = {}
    for each in type.fields:
        name = next((alias for alias in (each.name, *each.aliases) if alias in value), None)
        if name is not None:
            made[each.name] = _within(key_segment(each.name), value[name], each.type, depth, tried)
        elif each.default is not ABSENT:
            made[each.name] = _within(key_segment(each.name), each.default, _of_default(each.type), depth, tried)
        elif _null_branch(each.type) is not None:
            made[each.name] = None
        else:
            raise PathFault("schema.mismatch", f"expected {type_name(each.type)}, found nothing").within(
                key_segment(each.name)
            )
    return made


def default_value(field: AvroField) -> tuple[Any, Type]:
    """Return the value of a missing field (its default, or null), and its type. Raises PathFault."""
    if field.default is ABSENT:
        branch = _null_branch(field.type)
        if branch is None:
            raise PathFault("schema.mismatch", f"expected {type_name(field.type)}, found nothing")
        return None, branch
    type = _of_default(field.type)
    is_bytes = isinstance(type, AvroFixed) or (isinstance(type, AvroPrimitive) and type.name == "bytes")
    if is_bytes and isinstance(field.default, str):
        # Each character of a default is one byte (Avro specification, "Complex Types", Records).
        return field.default.encode("latin-1", "replace"), type
    return field.default, type


def _of_default(type: Type) -> Type:
    """Return the type of a default: of a union its first branch (Avro specification, "Complex Types", Unions)."""
    return type.branches[0] if isinstance(type, AvroUnion) and type.branches else type


def _null_branch(type: Type) -> Type | None:
    branches = type.branches if isinstance(type, AvroUnion) else ()
    return next((branch for branch in branches if isinstance(branch, AvroPrimitive) and branch.name == "null"), None)


def _union(value: Any, branches: tuple[Type, ...], depth: int, tried: Tried) -> Any:
    """Pair the value with its branch's name: fastavro would choose again, and differently."""
    if isinstance(value, Mapping) and len(value) == 1:
        ((name, inner),) = value.items()
        for branch in branches:
            if name in (branch_name(branch), branch_name(branch).rpartition(".")[2]):
                return _pair_with_branch(branch, branches), _within(key_segment(str(name)), inner, branch, depth, tried)
    nearest: PathFault | None = None
    for branch in sorted(branches, key=lambda candidate: not _natural(value, candidate)):
        try:
            made = _once(value, branch, depth + 1, tried)
        except PathFault as fault:
            if nearest is None or fault.depth > nearest.depth:
                nearest = fault
            continue
        return _pair_with_branch(branch, branches), made
    if nearest is not None and nearest.depth:
        raise nearest
    raise TypeMismatch(type_name(AvroUnion(branches)), value)


def _pair_with_branch(branch: Type, branches: tuple[Type, ...]) -> str:
    """Return the name by which the writer finds the branch.

    Some readers accept a union with two branches of one name, which the specification forbids; only the first can be
    written."""
    name = branch_name(branch)
    if next(candidate for candidate in branches if branch_name(candidate) == name) is not branch:
        raise PathFault(
            "schema.mismatch", f"the schema has a union with several branches {name}: only the first is writable"
        )
    return name


def _once(value: Any, branch: Type, depth: int, tried: Tried) -> Any:
    if not isinstance(value, Mapping | list | tuple):
        return _conform(value, branch, depth, tried)
    key = id(value), id(branch)
    if key not in tried:
        try:
            tried[key] = _conform(value, branch, depth, tried)
        except PathFault as fault:
            tried[key] = fault.copy()
    outcome = tried[key]
    if isinstance(outcome, PathFault):
        raise outcome.copy()
    return outcome


def _natural(value: Any, branch: Type) -> bool:
    """Test whether a value that was read by this branch looks like this one.

    Such branches are tried before those that only accept it too: text is accepted as bytes, a time or a number if no
    branch is text."""
    match branch:
        case AvroArray():
            return isinstance(value, list | tuple)
        case AvroMap():
            return isinstance(value, Mapping)
        case AvroRecord(fields=fields):
            return isinstance(value, Mapping) and value.keys() == {each.name for each in fields}
        case AvroEnum(symbols=symbols):
            return value in symbols if isinstance(value, str) else False
        case AvroUnion():
            return False
        case AvroPrimitive() | AvroFixed():
            return isinstance(value, _natural_type(branch)) and (
                isinstance(value, bool) == (branch_name(branch) == "boolean")
            )


def _natural_type(branch: AvroPrimitive | AvroFixed) -> type | tuple[type, ...]:
    logical = branch.logical or ""
    if logical in _LOGICAL:
        return _LOGICAL[logical]
    if logical.startswith("time-"):
        return time
    if "timestamp-" in logical:
        return datetime
    return bytes if isinstance(branch, AvroFixed) else _PLAIN[branch.name]


def branch_name(branch: Type) -> str:
    """Return the name of a branch of a union, as Avro's JSON encoding writes it."""
    match branch:
        case AvroArray():
            return "array"
        case AvroMap():
            return "map"
        case AvroUnion():
            return ""
        case AvroPrimitive(name) | AvroRecord(name) | AvroEnum(name) | AvroFixed(name):
            return name


def _primitive(value: Any, type: AvroPrimitive) -> Any:
    match type.name:
        case "null":
            if value is not None:
                raise TypeMismatch("null", value)
            return None
        case "boolean":
            if not isinstance(value, bool):
                raise TypeMismatch("boolean", value)
            return value
        case "int" | "long":
            return _whole(value, type)
        case "float" | "double":
            return _float(value, type)
        case "bytes":
            if type.logical == "decimal":
                return _decimal(value, type)
            return _bytes(value, 'bytes (text, or {"base64": …})')
    if type.logical == "uuid":
        try:
            return str(value if isinstance(value, UUID) else UUID(value))
        except (ValueError, TypeError, AttributeError):
            raise TypeMismatch("uuid", value) from None
    if not isinstance(value, str):
        raise TypeMismatch("string", value)
    return value


def _whole(value: Any, type: AvroPrimitive) -> int:
    number = value
    if type.logical is not None and not isinstance(value, int | float):
        number = _moment(value, type)
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    bits = _BOUNDS[type.name]
    if isinstance(number, bool) or not isinstance(number, int) or not -(1 << bits) <= number < 1 << bits:
        raise TypeMismatch(type_name(type), value)
    return number


def _moment(value: Any, type: AvroPrimitive) -> Any:
    """Convert a date, a time of day or a timestamp to Avro's number; any other value stays as it is."""
    logical = type.logical or ""
    try:
        if logical == "date":
            day = date.fromisoformat(value) if isinstance(value, str) else value
            return day.toordinal() - _EPOCH.toordinal() if isinstance(day, date) else value
        unit = _PER_SECOND[logical.rpartition("-")[2]]
        if logical.startswith("time-"):
            at = time.fromisoformat(value) if isinstance(value, str) else value
            if not isinstance(at, time):
                return value
            micros = ((at.hour * 60 + at.minute) * 60 + at.second) * 1_000_000 + at.microsecond
        else:
            moment = datetime.fromisoformat(value.replace("Z", "+00:00")) if isinstance(value, str) else value
            if not isinstance(moment, datetime):
                return value
            if moment.tzinfo is None:
                if not logical.startswith("local-") and isinstance(value, str):
                    raise TypeMismatch("a timestamp with its offset from UTC, such as 2026-01-31T12:00:00Z", value)
                moment = moment.replace(tzinfo=UTC)
            elapsed = moment - _EPOCH
            micros = (elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds
        return micros * unit // 1_000_000
    except ValueError:
        return value


def _float(value: Any, type: AvroPrimitive) -> float:
    if isinstance(value, str) and value in ("NaN", "Infinity", "-Infinity", "INF", "-INF", "inf", "-inf", "nan"):
        return float(value.replace("INF", "inf"))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeMismatch(type_name(type), value)
    return float(value)


def _decimal(value: Any, type: AvroPrimitive | AvroFixed) -> Decimal:
    try:
        number = value if isinstance(value, Decimal) else Decimal(str(value)) if type_is_number(value) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite():
        raise TypeMismatch(type_name(type), value)
    _, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int) or -exponent > type.scale or len(digits) + exponent + type.scale > type.precision:
        raise TypeMismatch(type_name(type), value)
    return number


def type_is_number(value: Any) -> bool:
    """Check whether a decimal may be written as this kind of value."""
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _bytes(value: Any, expected: str) -> bytes:
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, Mapping) and set(value) == {"base64"} and isinstance(value["base64"], str):
        try:
            return base64.b64decode(value["base64"], validate=True)
        except (binascii.Error, ValueError):
            pass
    raise TypeMismatch(expected, value)


def _convert_fixed(value: Any, type: AvroFixed) -> Any:
    if type.logical == "decimal":
        return _decimal(value, type)
    data = value.bytes if isinstance(value, UUID) else _bytes(value, type_name(type))
    if len(data) != type.size:
        raise TypeMismatch(f"{type.size} bytes", value)
    return data
