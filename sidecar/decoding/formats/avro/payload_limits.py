"""Limits of payloads, checked by a walk over the bytes before a decoder runs, so that hostile bytes cost little.

fastavro reads in C and cannot be interrupted: with items that take no bytes, five bytes can claim 2^60 of them; a
recursive schema overflows the C stack; a record of a thousand nulls makes a thousand values out of no bytes. `survey`
recognizes such schemas once. Their payloads, and large payloads of any schema, are walked first. After a decoder
failed, a walk also explains what is wrong and where. (Avro 1.12 specification, "Binary Encoding".)
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
    children,
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
WALK_ABOVE_BYTES = MAX_VALUES // 4
"""Size above which payloads of every schema are walked, so that MAX_VALUES holds for all."""

Walk: TypeAlias = Callable[[bytes, int, "WalkBudget"], int]
"""Function from the bytes, the index of a value's first byte and the remaining budget to the index after the value.
Raises a fault."""


class SchemaSurvey(NamedTuple):
    """Costs that a schema permits its payloads."""

    recursive: bool
    safe: bool
    """True if no payload of at most WALK_ABOVE_BYTES can make a decoder build more than about MAX_VALUES values, or
    nest deeper than the schema itself."""


class WalkBudget:
    """Values and depth that remain for one walk."""

    __slots__ = ("depth", "limit", "values")

    def __init__(self, payload_bytes: int) -> None:
        """Create the budget for a payload of this many bytes."""
        self.limit = self.values = min(MAX_VALUES, MAX_FREE_VALUES + MAX_VALUES_PER_BYTE * payload_bytes)
        self.depth = MAX_DEPTH

    def spend(self, values: int) -> None:
        self.values -= values
        if self.values < 0:
            raise PathFault("decode.limit", f"expected at most {self.limit} values in an event of this size")

    def enter(self) -> None:
        self.depth -= 1
        if self.depth < 0:
            raise PathFault("decode.limit", f"expected values at most {MAX_DEPTH} deep")


def survey(root: Type) -> SchemaSurvey:
    """Examine a schema once, when it is loaded."""
    estimator = _SizeEstimator()
    _, values = estimator.of(root)
    return SchemaSurvey(estimator.recursive, estimator.safe and values <= MAX_FREE_VALUES)


def fewest_bytes(type: Type) -> int:
    """Return the fewest bytes that a value of a type takes."""
    return _SizeEstimator().of(type)[0]


def find_fault(walk: Walk, data: bytes, start: int) -> PathFault | None:
    """Find the first fault of the payload from `start` on; None if all of it is valid. All bytes must be used."""
    try:
        end = walk(data, start, WalkBudget(len(data) - start))
    except PathFault as fault:
        return fault
    if end > len(data):
        return PathFault("decode.truncated", f"expected {end - len(data)} more bytes at the end")
    if end < len(data):
        return PathFault(
            "decode.trailing_bytes", f"expected the end after {end - start} bytes, found {len(data) - end} more"
        )
    return None


class _SizeEstimator:
    """The fewest bytes and the most values of each type, what its arrays and maps hold not counted."""

    def __init__(self) -> None:
        self.recursive = False
        self.safe = True
        self._known: dict[int, tuple[int, int]] = {}
        self._open: set[int] = set()

    def of(self, type: Type) -> tuple[int, int]:
        if id(type) in self._open:
            self.recursive, self.safe = True, False
            return 0, 1
        if id(type) not in self._known:
            self._open.add(id(type))
            least, most = self._measure(type)
            self._known[id(type)] = least, min(most, 1 << 62)
            self._open.remove(id(type))
        return self._known[id(type)]

    def _measure(self, type: Type) -> tuple[int, int]:
        inner = [self.of(child) for child in children(type)]
        match type:
            case AvroPrimitive(name):
                return _FIXED_WIDTH.get(name, 1), 1
            case AvroFixed(_, size):
                return size, 1
            case AvroArray() | AvroMap():
                entry = 0 if isinstance(type, AvroArray) else 1
                least, most = inner[0]
                if most > (least + entry) * MAX_VALUES_PER_BYTE:
                    self.safe = False
                return 1, 1
            case AvroUnion():
                return 1 + min((least for least, _ in inner), default=0), max((most for _, most in inner), default=1)
            case AvroRecord():
                return sum(least for least, _ in inner), 1 + sum(most for _, most in inner)
        return 1, 1


_FIXED_WIDTH = {"null": 0, "float": 4, "double": 8}


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
                return _array(self.of(items), _width(items))
            case AvroMap(values):
                return _map(self.of(values))
            case AvroUnion(branches):
                return _union([self.of(branch) for branch in branches])
            case AvroRecord():
                return _record([(each.name, self.of(each.type)) for each in type.fields])


def _width(type: Type) -> int | None:
    """Bytes of every value of this type, where they are always the same and need no look."""
    match type:
        case AvroPrimitive("null" | "float" | "double" as name):
            return _FIXED_WIDTH[name]
        case AvroFixed(_, size):
            return size
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


def _array(item: Walk, width: int | None) -> Walk:
    def walk(data: bytes, at: int, budget: WalkBudget) -> int:
        budget.enter()
        index = 0
        while True:
            count, at = _block(data, at, budget)
            if not count:
                break
            if width is not None:
                at += width * count
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
