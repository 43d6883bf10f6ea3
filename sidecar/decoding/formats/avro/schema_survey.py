"""Survey of a schema: the costs that its payloads may have, found once, when the schema is loaded.

A schema is unsafe where few bytes can stand behind many values, or behind values nested without end: its payloads are
walked (`payload_limits`) before a decoder reads them.
"""

from __future__ import annotations

from typing import NamedTuple

from sidecar.decoding.formats.avro.payload_limits import (
    FIXED_WIDTHS_BYTES,
    MAX_FREE_VALUES,
    MAX_VALUES,
    MAX_VALUES_PER_BYTE,
)
from sidecar.decoding.formats.avro.schema_parser import (
    AvroArray,
    AvroFixed,
    AvroMap,
    AvroPrimitive,
    AvroRecord,
    AvroUnion,
    Type,
    children,
)


class SchemaSurvey(NamedTuple):
    """The costs that a schema lets a payload have."""

    recursive: bool
    safe: bool
    """True if no payload of at most `walk_above` bytes can make a decoder build more than about MAX_VALUES values, or
    nest deeper than the schema is written."""
    walk_above: int
    """Size above which payloads are walked, so that MAX_VALUES holds for all."""


def survey(root: Type) -> SchemaSurvey:
    """Look at a schema once, when it is loaded."""
    estimator = _SizeEstimator()
    _, values = estimator.of(root)
    walk_above = int((MAX_VALUES - MAX_FREE_VALUES) / estimator.values_per_byte)
    return SchemaSurvey(estimator.recursive, estimator.safe and values <= MAX_FREE_VALUES, walk_above)


def fewest_bytes(type: Type) -> int:
    """Return the fewest bytes that a value of a type takes."""
    return _SizeEstimator().of(type)[0]


class _SizeEstimator:
    """The fewest bytes and the most values of each type, what its arrays and maps hold not counted."""

    def __init__(self) -> None:
        self.recursive = False
        self.safe = True
        self.values_per_byte = 1.0
        """The most values that a byte of an array or a map can stand behind."""
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
                return FIXED_WIDTHS_BYTES.get(name, 1), 1
            case AvroFixed(_, size):
                return size, 1
            case AvroArray() | AvroMap():
                entry = 0 if isinstance(type, AvroArray) else 1
                least, most = inner[0]
                if most > (least + entry) * MAX_VALUES_PER_BYTE:
                    self.safe = False
                else:
                    self.values_per_byte = max(self.values_per_byte, most / (least + entry))
                return 1, 1
            case AvroUnion():
                return 1 + min((least for least, _ in inner), default=0), max((most for _, most in inner), default=1)
            case AvroRecord():
                return sum(least for least, _ in inner), 1 + sum(most for _, most in inner)
        return 1, 1
