"""Conversion of a tree of Avro types to the schema with which fastavro reads, with our logical types.

fastavro does not check a schema that is marked as parsed. So types are written in full wherever they are used, as the
same objects (recursion is a cycle of objects): reading looks no name up, and names cannot clash.

The logical types are our own, under their own names, because fastavro's raise errors for values that Avro allows (a
timestamp after the year 9999 is a valid long) or round them (a decimal with more digits than its precision).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any
from uuid import UUID

from fastavro.read import LOGICAL_READERS

from sidecar.decoding.formats.avro.schema_parser import (
    MAX_DECIMAL_BYTES,
    AvroArray,
    AvroEnum,
    AvroFixed,
    AvroMap,
    AvroPrimitive,
    AvroRecord,
    AvroUnion,
    Type,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_LOCAL = datetime(1970, 1, 1)  # a local timestamp has no zone
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_EXACT = Context(prec=10_000, Emin=-999_999, Emax=999_999, traps=[InvalidOperation, Inexact])
_PREFIX = "tracecar-"


class DecimalTooLong(ValueError):
    """An unscaled decimal of more than MAX_DECIMAL_BYTES."""


def reading_schema(root: Type) -> Any:
    """Build the schema for `fastavro.schemaless_reader`. Do not show or store it."""
    written: dict[int, Any] = {}
    schema = _write(root, written)
    for each in schema if isinstance(schema, list) else [schema]:
        if isinstance(each, dict):
            each |= {"__fastavro_parsed": True, "__named_schemas": {}}
    return schema


def _write(type: Type, written: dict[int, Any]) -> Any:
    if id(type) in written:
        return written[id(type)]
    match type:
        case AvroPrimitive(name, None):
            return name
        case AvroPrimitive(name, logical):
            return {"type": name, "logicalType": _PREFIX + str(logical), "scale": type.scale}
        case AvroFixed(name, size, logical):
            schema: Any = {"type": "fixed", "name": name, "size": size}
            if logical:
                schema |= {"logicalType": _PREFIX + logical, "scale": type.scale}
        case AvroEnum(name, symbols):
            # By number, not a list: a list would take the negative numbers of garbage for positions from its end.
            schema = {"type": "enum", "name": name, "symbols": dict(enumerate(symbols))}
        case AvroUnion(branches):
            schema = written[id(type)] = []
            schema.extend(_write(branch, written) for branch in branches)
        case AvroArray(items):
            schema = written[id(type)] = {"type": "array"}
            schema["items"] = _write(items, written)
        case AvroMap(values):
            schema = written[id(type)] = {"type": "map"}
            schema["values"] = _write(values, written)
        case AvroRecord(name):
            schema = written[id(type)] = {"type": "record", "name": name}
            schema["fields"] = [{"name": each.name, "type": _write(each.type, written)} for each in type.fields]
    written[id(type)] = schema
    return schema


def _timestamp(epoch: datetime, micros_per_unit: int) -> Callable[..., Any]:
    def read(value: int, writer_schema: Any = None, reader_schema: Any = None) -> datetime | int:
        try:
            return epoch + timedelta(microseconds=value * micros_per_unit)
        except OverflowError:
            return value

    return read


def _date(value: int, writer_schema: Any = None, reader_schema: Any = None) -> date | int:
    try:
        return date.fromordinal(value + _EPOCH_ORDINAL)
    except (ValueError, OverflowError):
        return value


def _time(units_per_second: int) -> Callable[..., Any]:
    micros_per_unit = 1_000_000 // units_per_second
    day = 86_400 * units_per_second

    def read(value: int, writer_schema: Any = None, reader_schema: Any = None) -> time | int:
        if not 0 <= value < day:
            return value
        seconds, rest = divmod(value, units_per_second)
        return time(seconds // 3600, seconds // 60 % 60, seconds % 60, rest * micros_per_unit)

    return read


def _decimal(value: bytes, writer_schema: Any = None, reader_schema: Any = None) -> Decimal:
    if len(value) > MAX_DECIMAL_BYTES:
        raise DecimalTooLong
    return Decimal(int.from_bytes(value, "big", signed=True)).scaleb(-writer_schema["scale"], _EXACT)


def _uuid(value: bytes, writer_schema: Any = None, reader_schema: Any = None) -> str:
    return str(UUID(bytes=value))


_READERS: dict[str, Callable[..., Any]] = {
    f"long-{_PREFIX}timestamp-millis": _timestamp(_EPOCH, 1000),
    f"long-{_PREFIX}timestamp-micros": _timestamp(_EPOCH, 1),
    f"long-{_PREFIX}local-timestamp-millis": _timestamp(_EPOCH_LOCAL, 1000),
    f"long-{_PREFIX}local-timestamp-micros": _timestamp(_EPOCH_LOCAL, 1),
    f"int-{_PREFIX}date": _date,
    f"int-{_PREFIX}time-millis": _time(1_000),
    f"long-{_PREFIX}time-micros": _time(1_000_000),
    f"bytes-{_PREFIX}decimal": _decimal,
    f"fixed-{_PREFIX}decimal": _decimal,
    f"fixed-{_PREFIX}uuid": _uuid,
}
LOGICAL_READERS.update(_READERS)


def logical_reader(type: AvroPrimitive | AvroFixed) -> Callable[[Any], Any] | None:
    """Return the function that converts a value of this type as fastavro does with `reading_schema`; None if none."""
    name = type.name if isinstance(type, AvroPrimitive) else "fixed"
    read = _READERS.get(f"{name}-{_PREFIX}{type.logical}")
    if read is None:
        return None
    schema = {"scale": type.scale}
    return lambda value: read(value, schema)
