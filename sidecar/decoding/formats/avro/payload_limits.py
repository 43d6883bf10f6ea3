"""Limits of payloads, checked by a walk over the bytes before a decoder runs, so that hostile bytes cost little.

fastavro reads in C and cannot be interrupted: with items that take no bytes, five bytes can claim 2^60 of them; a
recursive schema overflows the C stack; a record of a thousand nulls makes a thousand values out of no bytes.
`schema_survey` recognizes such schemas once. Their payloads, and large payloads of any schema, are walked first. After
a decoder failed, a walk also explains what is wrong and where. (Avro 1.12 specification, "Binary Encoding".)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

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
from sidecar.domain.json_path import PathFault, key_segment

MAX_VALUES = 1_000_000
"""Values (items, map entries, fields) in one payload."""
MAX_FREE_VALUES = 10_000
"""Values that a payload may have regardless of its bytes: a record of nulls, items that take no bytes."""
MAX_VALUES_PER_BYTE = 4
"""Further values that a payload may have for each of its bytes."""
MAX_DEPTH = 200
"""Deepest nesting of records, arrays and maps in one payload. All later code that walks a body relies on it."""
MAX_EXPLAINED_VALUES = 50_000
"""Values that are walked to find the fault of a payload that a decoder refused. Faults behind them have no path."""

Walk: TypeAlias = Callable[[bytes, int, "WalkBudget"], int]
"""Function from the bytes, the index of a value's first byte and the remaining budget to the index after the value.
Raises a fault."""


class WalkBudget:
    """Values and depth that remain for one walk."""

    __slots__ = ("depth", "limit", "values")

    def __init__(self, payload_bytes: int, most: int = MAX_VALUES) -> None:
        """Create the budget for a payload of this many bytes: at most `most` values."""
        self.limit = self.values = min(most, MAX_FREE_VALUES + MAX_VALUES_PER_BYTE * payload_bytes)
        self.depth = MAX_DEPTH

    def spend(self, values: int) -> None:
        self.values -= values
        if self.values < 0:
            raise PathFault("decode.limit", f"expected at most {self.limit} values in an event of this size")

    def enter(self) -> None:
        self.depth -= 1
        if self.depth < 0:
            raise PathFault("decode.limit", f"expected values at most {MAX_DEPTH} deep")


def explain_fault(walk: Walk, data: bytes, start: int) -> PathFault | None:
    """Find the first fault of a payload that a decoder refused; None if it is not within MAX_EXPLAINED_VALUES."""
    budget = WalkBudget(len(data) - start, MAX_EXPLAINED_VALUES)
    fault = find_fault(walk, data, start, budget)
    return fault if budget.values >= 0 or budget.limit < MAX_EXPLAINED_VALUES else None


def find_fault(walk: Walk, data: bytes, start: int, budget: WalkBudget | None = None) -> PathFault | None:
    """Find the first fault of the payload from `start` on; None if all of it is valid. All bytes must be used."""
    try:
        end = walk(data, start, budget or WalkBudget(len(data) - start))
    except PathFault as fault:
        return fault.copy()  # without the traceback, whose frames would keep the caller's batch in memory
    if end > len(data):
        return PathFault("decode.truncated", f"expected {end - len(data)} more bytes at the end")
    return trailing_bytes(data, start, end) if end < len(data) else None


def trailing_bytes(data: bytes, start: int, end: int) -> PathFault:
    """Build the fault of a payload that should end earlier."""
    return PathFault(
        "decode.trailing_bytes", f"expected the end after {end - start} bytes, found {len(data) - end} more"
    )


FIXED_WIDTHS_BYTES = {"null": 0, "float": 4, "double": 8}
"""Sizes of primitive types that always have the same and need no look."""


def compile_walk(root: Type) -> Walk:
    """Compile the walk over payloads of a schema."""
    return _WalkCompiler().of(root)


class _WalkCompiler:
    """One function for each type, made once; a recursive type finds its own by the time it is called."""

    def __init__(self) -> None:
        self._made: dict[int, Walk] = {}
        self._open: set[int] = set()

    def of(self, type: Type) -> Walk:
        key = id(type)
        if key in self._open:
            return lambda data, at, budget: self._made[key](data, at, budget)
        if key not in self._made:
            self._open.add(key)
            self._made[key] = self._make(type)
            self._open.remove(key)
        return self._made[key]

    def _make(self, type: Type) -> Walk:
        match type:
            case AvroPrimitive("bytes", "decimal"):
                return _decimal
            case AvroPrimitive(name):
                return _PRIMITIVES[name]
            case AvroFixed(_, size):
                return _walk_fixed(size)
            case AvroEnum(_, symbols):
                return _enum(len(symbols))
            case AvroArray(items):
                return _array(self.of(items), _plain_item(items))
            case AvroMap(values):
                return _map(self.of(values))
            case AvroUnion(branches):
                return _union([self.of(branch) for branch in branches])
            case AvroRecord():
                return _record([(each.name, self.of(each.type)) for each in type.fields])


class _PlainItem(NamedTuple):
    """The cost of every value of a type whose values always have the same size and need no look."""

    width: int
    """Bytes."""
    values: int
    """Values inside of one: the fields of a record."""


def _plain_item(type: Type) -> _PlainItem | None:
    match type:
        case AvroPrimitive("null" | "float" | "double" as name):
            return _PlainItem(FIXED_WIDTHS_BYTES[name], 0)
        case AvroPrimitive("boolean"):
            return _PlainItem(1, 0)
        case AvroFixed(_, size):
            return _PlainItem(size, 0)
        case AvroRecord() if len(type.fields) <= MAX_FREE_VALUES:
            fields = [_plain_item(each.type) if not isinstance(each.type, AvroRecord) else None for each in type.fields]
            plain = [field for field in fields if field is not None]
            if len(plain) == len(fields):
                return _PlainItem(sum(field.width for field in plain), len(fields))
    return None


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Read a zig-zag variable-length long, and the index after it."""
    number = shift = 0
    while True:
        if at >= len(data):
            raise PathFault("decode.truncated", "expected a number, found the end of the bytes")
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if number >> 64:
                raise PathFault("decode.malformed", "expected a number of 64 bits, found a longer one")
            return (number >> 1) ^ -(number & 1), at
        shift += 7
        if shift > 63:
            raise PathFault("decode.malformed", "expected a number of at most 10 bytes, found a longer one")


def _null(data: bytes, at: int, budget: WalkBudget) -> int:
    return at


def _boolean(data: bytes, at: int, budget: WalkBudget) -> int:
    return at + 1


def _int(data: bytes, at: int, budget: WalkBudget) -> int:
    number, at = _number(data, at)
    if not -0x8000_0000 <= number <= 0x7FFF_FFFF:
        raise PathFault("decode.malformed", f"expected an int of 32 bits, found {number}")
    return at


def _long(data: bytes, at: int, budget: WalkBudget) -> int:
    return _number(data, at)[1]


def _float(data: bytes, at: int, budget: WalkBudget) -> int:
    return at + 4


def _double(data: bytes, at: int, budget: WalkBudget) -> int:
    return at + 8


def _length(data: bytes, at: int) -> tuple[int, int]:
    length, at = _number(data, at)
    if length < 0:
        raise PathFault("decode.malformed", f"expected a length, found {length}")
    if length > len(data) - at:
        raise PathFault("decode.truncated", f"expected {length} bytes, found {max(0, len(data) - at)}")
    return length, at


def _bytes(data: bytes, at: int, budget: WalkBudget) -> int:
    length, at = _length(data, at)
    return at + length


def _decimal(data: bytes, at: int, budget: WalkBudget) -> int:
    length, at = _length(data, at)
    if length > MAX_DECIMAL_BYTES:
        raise PathFault("decode.limit", f"expected a decimal of at most {MAX_DECIMAL_BYTES} bytes, found {length}")
    return at + length


def _string(data: bytes, at: int, budget: WalkBudget) -> int:
    length, at = _length(data, at)
    try:
        data[at : at + length].decode()
    except UnicodeDecodeError as error:
        raise PathFault(
            "decode.malformed", f"expected UTF-8, found the byte 0x{error.object[error.start]:02x}"
        ) from None
    return at + length


_PRIMITIVES: dict[str, Walk] = {
    "null": _null,
    "boolean": _boolean,
    "int": _int,
    "long": _long,
    "float": _float,
    "double": _double,
    "bytes": _bytes,
    "string": _string,
}


def _walk_fixed(size: int) -> Walk:
    def walk(data: bytes, at: int, budget: WalkBudget) -> int:
        if at + size > len(data):
            raise PathFault("decode.truncated", f"expected {size} bytes, found {max(0, len(data) - at)}")
        return at + size

    return walk


def _enum(symbols: int) -> Walk:
    def walk(data: bytes, at: int, budget: WalkBudget) -> int:
        index, at = _number(data, at)
        if not 0 <= index < symbols:
            raise PathFault("decode.malformed", f"expected one of {symbols} symbols, found number {index}")
        return at

    return walk


def _union(branches: list[Walk]) -> Walk:
    def walk(data: bytes, at: int, budget: WalkBudget) -> int:
        index, at = _number(data, at)
        if not 0 <= index < len(branches):
            raise PathFault("decode.malformed", f"expected one of {len(branches)} union branches, found number {index}")
        return branches[index](data, at, budget)

    return walk


def _record(fields: list[tuple[str, Walk]]) -> Walk:
    steps = [step for _, step in fields]

    def walk(data: bytes, at: int, budget: WalkBudget) -> int:
        budget.enter()
        budget.spend(len(fields))
        done = 0
        try:
            for step in steps:
                at = step(data, at, budget)
                done += 1
        except PathFault as fault:
            raise fault.within(key_segment(fields[done][0])) from None
        budget.depth += 1
        return at

    return walk


def _block(data: bytes, at: int, budget: WalkBudget) -> tuple[int, int]:
    """Read the number of entries that the block at `at` claims, and the index of the first one."""
    count, at = _number(data, at)
    if count < 0:
        count, at = -count, _number(data, at)[1]
    budget.spend(count)
    return count, at


def _array(item: Walk, plain: _PlainItem | None) -> Walk:
    def walk(data: bytes, at: int, budget: WalkBudget) -> int:
        budget.enter()
        index = 0
        while True:
            count, at = _block(data, at, budget)
            if not count:
                break
            if plain is not None:
                budget.spend(plain.values * count)
                at += plain.width * count
                continue
            try:
                for _ in range(count):
                    at = item(data, at, budget)
                    index += 1
            except PathFault as fault:
                raise fault.within(f"[{index}]") from None
        budget.depth += 1
        return at

    return walk


def _map(value: Walk) -> Walk:
    def walk(data: bytes, at: int, budget: WalkBudget) -> int:
        budget.enter()
        while True:
            count, at = _block(data, at, budget)
            if not count:
                break
            for _ in range(count):
                start = at
                at = _string(data, at, budget)
                try:
                    at = value(data, at, budget)
                except PathFault as fault:
                    key = data[_number(data, start)[1] : at].decode()
                    raise fault.within(key_segment(key)) from None
        budget.depth += 1
        return at

    return walk
