"""Partitions and positions: the places of records, and their notation.

A position is written `SCHEME://STREAM/PARTITION/OFFSET`, or `SCHEME://STREAM/OFFSET` for a broker without partitions.
The stream is percent-encoded, so it never contains a slash; `sidecar.domain.broker_traits` has the offset's format.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote, unquote_to_bytes

from msgspec import Struct

from sidecar.domain.broker_traits import find_traits, parse_number, position_forms, traits_of

SCHEME = r"[a-z][a-z0-9+.-]*"
"""Regular expression of a position's scheme."""
_SAFE_IN_STREAM = "-._~:{}@!$'()*+,;=^|"
_PARTITION_BITS = 31
_LOOKS_LIKE_POSITION = re.compile(rf"({SCHEME}):/")


class Partition(Struct, frozen=True, order=True, gc=False):
    """One ordered log: a partition of a Kafka topic, or a whole Redis stream (whose partition is 0)."""

    system: str
    """Scheme of the broker's positions: `kafka`, `redis`."""
    stream: str
    """The topic or stream key. Bytes of a Redis key that are not UTF-8 are surrogate escapes."""
    number: int

    def at(self, offset: int) -> Position:
        """Return the position with this offset."""
        return Position(self.system, self.stream, self.number, offset)

    def __str__(self) -> str:
        stream = _quote(self.stream)
        return (
            f"{self.system}://{stream}/{self.number}"
            if traits_of(self.system).partitioned
            else f"{self.system}://{stream}"
        )


class Position(Struct, frozen=True, order=True, gc=False):
    """Place of a record in a stream, written `kafka://orders/0/4711` or `redis://orders/1700000000000-0`."""

    system: str
    stream: str
    partition: int
    offset: int
    """Kafka's offset; for other brokers, their record id packed into an integer with the same order."""

    @property
    def log(self) -> Partition:
        return Partition(self.system, self.stream, self.partition)

    def __str__(self) -> str:
        traits = traits_of(self.system)
        offset = traits.format_offset(self.offset)
        if traits.partitioned:
            return f"{self.system}://{_quote(self.stream)}/{self.partition}/{offset}"
        return f"{self.system}://{_quote(self.stream)}/{offset}"

    @staticmethod
    def parse(text: str) -> Position:
        """Parse the text of a position. Raises ValueError with the expected form."""
        system, _, rest = text.partition("://")
        traits = find_traits(system)
        parts = rest.split("/")
        if traits is not None and len(parts) == (3 if traits.partitioned else 2):
            try:
                number = parse_number(parts[1], _PARTITION_BITS) if traits.partitioned else 0
                return Position(system, _unquote(parts[0]), number, traits.parse_offset(parts[-1]))
            except ValueError:
                pass
        raise ValueError(f"not a position: {text[:200]!r}; expected {position_forms()}")


def looks_like_position(text: str) -> bool:
    """Check whether a text starts like a position of a registered broker, well formed or not."""
    match = _LOOKS_LIKE_POSITION.match(text)
    return match is not None and find_traits(match[1]) is not None


@lru_cache(maxsize=1_024)
def _quote(stream: str) -> str:
    return quote(stream.encode("utf-8", "surrogateescape"), safe=_SAFE_IN_STREAM)


def _unquote(text: str) -> str:
    if "%" not in text and text.isascii():
        return text
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape")
