"""Validator of JSON values, as people write them, against an Avro schema: does a value fit, and if not, where and why.

JSON events are not Avro JSON. These forms are accepted, because producers send them every day and their meaning is
clear:

- a union's value bare (`"x"`), or in Avro's own JSON encoding (`{"string": "x"}`);
- a whole number with a fraction of zero (`3.0`) as int or long; any number as float or double, and `"NaN"`,
  `"Infinity"`;
- bytes as any text (base64 or characters), fixed as text of that many characters, or as base64 or hex of that many
  bytes;
- decimals as numbers, as text of a number, or as bytes;
- dates, times and timestamps as ISO 8601 text or as Avro's numbers; durations as text, or as an object of numbers;
- an enum's unknown symbol if the enum has a default, as Avro readers do;
- a missing field if it has a default or may be null (writers of JSON leave nulls out), or if it is present under an
  alias;
- fields that the schema lacks: a newer producer adds them before its schema is registered everywhere, and every Avro
  reader would skip them. The check covers the fields that the schema promises, because consumers rely on those.

A schema is compiled to one function for each type. A function returns None for a valid value, else a PathFault whose
path grows on the way back. A record compares the exact Python type first (`quick`), so most fields cost no call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from sidecar.decoding.formats.avro.json_acceptor import compile_acceptor
from sidecar.decoding.formats.avro.json_scalars import (
    Check,
    TypeMismatch,
    accepts_fixed,
    enumeration,
    one_of,
    primitive,
    type_name,
)
from sidecar.decoding.formats.avro.payload_limits import MAX_DEPTH
from sidecar.decoding.formats.avro.schema_parser import (
    ABSENT,
    AvroArray,
    AvroEnum,
    AvroFixed,
    AvroMap,
    AvroPrimitive,
    AvroRecord,
    AvroUnion,
    Type,
)
from sidecar.domain.json_path import PathFault, key_segment

MAX_ATTEMPTS = 500_000
"""Branches of unions to try on the objects and arrays of one body."""


def compile_check(root: Type, recursive: bool) -> Check:
    """Compile the check for values of a schema.

    For a recursive schema it checks the value's depth first, so that no body can exhaust the stack.
    """
    making = _CheckCompiler()
    check = making.of(root)
    attempts = making.attempts

    def remembering(value: Any) -> PathFault | None:
        try:
            return check(value)
        except _TooManyAttempts:
            return PathFault("decode.limit", f"expected a body that fits its unions within {MAX_ATTEMPTS} attempts")
        finally:
            attempts.forget()

    def check_bounded(value: Any) -> PathFault | None:
        if _deeper_than(value, MAX_DEPTH):
            return PathFault("decode.limit", f"expected values at most {MAX_DEPTH} deep")
        return remembering(value)

    if recursive:
        return check_bounded
    careful = remembering if making.has_structured_unions else check
    accepts = compile_acceptor(root, making.of)
    return careful if accepts is None else lambda value: None if accepts(value) else careful(value)


class _TooManyAttempts(Exception):
    pass


class _UnionAttempts(threading.local):
    """Outcomes of unions for the objects and arrays of the body that a thread checks.

    Each union looks at each of them once: branches that share branches would otherwise look again, twice as often with
    each level."""

    def __init__(self) -> None:
        self.known: dict[tuple[int, int], PathFault | None] = {}
        self.left = MAX_ATTEMPTS

    def forget(self) -> None:
        self.known.clear()
        self.left = MAX_ATTEMPTS


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


class _CheckCompiler:
    """One function for each type, made once; a recursive type finds its own by the time it is called."""

    def __init__(self) -> None:
        self._made: dict[int, Check] = {}
        self._open: set[int] = set()
        self.attempts = _UnionAttempts()
        self.has_structured_unions = False

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
            case AvroPrimitive():
                return primitive(type)
            case AvroFixed():
                return one_of(type_name(type), accepts_fixed(type))
            case AvroEnum():
                return enumeration(type)
            case AvroArray(items):
                return _array(self.of(items), _quick(items))
            case AvroMap(values):
                return _map(self.of(values), _quick(values))
            case AvroUnion(branches):
                has_structure = any(map(_is_structured, branches))
                self.has_structured_unions |= has_structure
                made = [(branch, self.of(branch)) for branch in branches]
                return _union(type, made, self.attempts if has_structure else None)
            case AvroRecord():
                return _record(type, [self.of(each.type) for each in type.fields])


def _quick(type: Type) -> frozenset[Any]:
    """Return the Python types of which every value is right, so that no look at the value is needed."""
    match type:
        case AvroPrimitive("null"):
            return frozenset({_NoneType})
        case AvroPrimitive("boolean"):
            return frozenset({bool})
        case AvroPrimitive("float" | "double"):
            return frozenset({int, float})
        case AvroPrimitive("string", None):
            return frozenset({str})
        case AvroPrimitive("bytes", None):
            return frozenset({str, bytes})
        case AvroUnion(branches):
            return frozenset().union(*map(_quick, branches))
    return frozenset()


_NoneType = type(None)


# --- records, arrays, maps, unions -----------------------------------------------------------------------------------


def _record(record: AvroRecord, checks: list[Check]) -> Check:
    expected = type_name(record)
    fields = [(each.name, _quick(each.type), check) for each, check in zip(record.fields, checks, strict=True)]
    absent = {
        each.name: _absent(each.type, each.default, each.aliases, check)
        for each, check in zip(record.fields, checks, strict=True)
    }

    def check(value: Any) -> PathFault | None:
        if type(value) is not dict:
            return TypeMismatch(expected, value)
        for name, quick, step in fields:
            field_value = value.get(name, ABSENT)
            if type(field_value) in quick:
                continue
            fault = step(field_value) if field_value is not ABSENT else absent[name](value)
            if fault is not None:
                return fault.within(key_segment(name))
        return None

    return check


def _absent(
    type: Type, default: Any, aliases: tuple[str, ...], check: Check
) -> Callable[[Mapping[str, Any]], PathFault | None]:
    """Build the fault of a record in which a field is missing."""
    optional = default is not ABSENT or _nullable(type)
    expected = type_name(type)

    def look(value: Mapping[str, Any]) -> PathFault | None:
        for alias in aliases:
            if alias in value:
                return check(value[alias])
        return (
            None
            if optional
            else PathFault("schema.mismatch", f"expected {expected}, found nothing: the field is missing")
        )

    return look


def _nullable(type: Type) -> bool:
    match type:
        case AvroPrimitive("null"):
            return True
        case AvroUnion(branches):
            return any(map(_nullable, branches))
    return False


def _array(item: Check, quick: frozenset[Any]) -> Check:
    def check(value: Any) -> PathFault | None:
        if type(value) is not list:
            return TypeMismatch("array", value)
        for index, each in enumerate(value):
            if type(each) not in quick:
                fault = item(each)
                if fault is not None:
                    return fault.within(f"[{index}]")
        return None

    return check


def _map(entry: Check, quick: frozenset[Any]) -> Check:
    def check(value: Any) -> PathFault | None:
        if type(value) is not dict:
            return TypeMismatch("map", value)
        for key, each in value.items():
            if type(each) not in quick:
                fault = entry(each)
                if fault is not None:
                    return fault.within(key_segment(key))
        return None

    return check


def _union(union: AvroUnion, branches: list[tuple[Type, Check]], attempts: _UnionAttempts | None) -> Check:
    quick, expected = _quick(union), type_name(union)
    objects = [check for branch, check in branches if _is_object(branch)]
    arrays = [check for branch, check in branches if isinstance(branch, AvroArray)]
    singles = [
        (branch, check) for branch, check in branches if not isinstance(branch, AvroRecord | AvroMap | AvroArray)
    ]
    tagged = {tag: check for branch, check in branches for tag in _tags(branch)}

    def check(value: Any) -> PathFault | None:
        kind = type(value)
        if kind in quick:
            return None
        if kind is not dict and kind is not list:
            return single(value)
        if attempts is None:
            return choose_branch(value)
        key = id(union), id(value)
        if key not in attempts.known:
            attempts.left -= len(branches)
            if attempts.left < 0:
                raise _TooManyAttempts
            fault = choose_branch(value)
            attempts.known[key] = fault and fault.copy()
            return fault
        fault = attempts.known[key]
        return fault and fault.copy()

    def single(value: Any) -> PathFault | None:
        meant: list[PathFault] = []
        for branch, step in singles:
            fault = step(value)
            if fault is None:
                return None
            if _same_kind(branch, value):
                meant.append(fault)
        return meant[0] if len(meant) == 1 else TypeMismatch(expected, value)

    def choose_branch(value: Any) -> PathFault | None:
        """Choose among branches that do not accept the value: the one that got deepest into it was meant."""
        faults: list[PathFault] = []
        for step in objects if type(value) is dict else arrays:
            fault = step(value)
            if fault is None:
                return None
            faults.append(fault)
        if type(value) is dict and len(value) == 1:
            ((tag, inner),) = value.items()
            if tag in tagged:
                fault = tagged[tag](inner)
                return fault and fault.within(key_segment(tag))
        deepest = max(faults, key=_deep, default=None)
        if deepest is None or (len(faults) > 1 and not deepest.depth):
            return TypeMismatch(expected, value)
        return deepest

    return check


def _tags(branch: Type) -> tuple[str, ...]:
    """List the names of a branch in Avro's JSON encoding: a named type's full and short name, or the type's name."""
    match branch:
        case AvroRecord(name) | AvroEnum(name) | AvroFixed(name):
            return name, name.rpartition(".")[2]
        case AvroPrimitive(name):
            return (name,)
        case AvroArray():
            return ("array",)
        case AvroMap():
            return ("map",)
    return ()


def _is_structured(branch: Type) -> bool:
    return isinstance(branch, AvroRecord | AvroMap | AvroArray)


def _is_object(branch: Type) -> bool:
    """Test whether the values of a branch may be JSON objects."""
    return isinstance(branch, AvroRecord | AvroMap) or (isinstance(branch, AvroFixed) and branch.logical == "duration")


def _deep(fault: PathFault) -> int:
    return fault.depth


def _same_kind(branch: Type, value: Any) -> bool:
    """Test whether a single value looks as if it were meant for this branch."""
    match value:
        case str():
            return isinstance(branch, AvroEnum | AvroFixed) or (
                isinstance(branch, AvroPrimitive) and branch.logical is not None
            )
        case bool() | None:
            return False
    return isinstance(branch, AvroPrimitive) and branch.name in ("int", "long", "bytes")
