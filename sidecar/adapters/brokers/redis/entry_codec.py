"""Codec between entries of Redis streams and records.

It works on raw replies, because a dict of fields loses repeated names and their order.
"""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.adapters.brokers.redis.traits import MAX_TIME_MS, MIN_TIME_MS
from sidecar.domain.errors import Refused
from sidecar.domain.model import Outgoing, Record
from sidecar.domain.position import Position

SYSTEM = "redis"
RawEntry = tuple[bytes, list[bytes] | None]
"""An entry as the server sends it: its id, then field names and values alternately (None: deleted or trimmed)."""
MAX_SHAPES = 1024
MAX_FIELDS_PER_SHAPE = 64
MAX_NAME_BYTES_PER_SHAPE = 1024


class EntryCodec:
    """Converts raw entries into records.

    Entries of one producer have the same field names, so everything derived from the names (the position of the body,
    the names as text) is cached, within bounds.
    """

    def __init__(self, body_field: str) -> None:
        self.body = body_field.encode("utf-8", "surrogateescape")
        self._shapes: dict[tuple[bytes, ...], tuple[int, tuple[str, ...]]] = {}

    def records(self, stream: str, entries: Sequence[RawEntry], known_since: int | None = None) -> list[Record]:
        """Build the records of entries, none of which may be deleted.

        `known_since`: fallback timestamp (ms) for entries whose ids are not times (see `ensure_identity`). None: use
        the number in the id. Ids that a producer chose may repeat in a stream that is created again: then the
        timestamps differ.
        """
        records: list[Record] = []
        shapes, append = self._shapes, records.append
        for entry_id, fields in entries:
            assert fields is not None
            milliseconds, _, sequence = entry_id.partition(b"-")
            timestamp = number = int(milliseconds)
            if known_since is not None and not MIN_TIME_MS <= number < MAX_TIME_MS:
                timestamp = known_since
            names = tuple(fields[::2])
            shape = shapes.get(names)
            if shape is None:
                shape = self._learn(names)
            at, texts = shape
            values = fields[1::2]
            value = values.pop(at) if at >= 0 else None
            append(
                Record(
                    Position(SYSTEM, stream, 0, number << 64 | int(sequence)),
                    None,
                    value,
                    tuple(zip(texts, values)),  # noqa: B905  # equal lengths, and 0.1 µs faster
                    timestamp,
                    at if at > 0 else 0,
                )
            )
        return records

    def _learn(self, names: tuple[bytes, ...]) -> tuple[int, tuple[str, ...]]:
        at = names.index(self.body) if self.body in names else -1
        others = names if at < 0 else names[:at] + names[at + 1 :]
        shape = at, tuple(text(name) for name in others)
        if len(names) <= MAX_FIELDS_PER_SHAPE and sum(map(len, names)) <= MAX_NAME_BYTES_PER_SHAPE:
            if len(self._shapes) >= MAX_SHAPES:
                self._shapes.clear()
            self._shapes[names] = shape
        return shape

    def fields(self, outgoing: Outgoing) -> list[bytes]:
        """List field names and values alternately, as `XADD` takes them. Raises Refused if the record fits no entry."""
        if outgoing.key is not None:
            raise Refused(f"{outgoing.stream}: a Redis stream has no keys; publish the record without its key")
        fields = [part for name, value in outgoing.headers for part in (raw(name), value or b"")]
        if outgoing.value is not None:
            at = 2 * max(0, outgoing.value_at)
            fields[at:at] = [self.body, outgoing.value]
        if not fields:
            raise Refused(
                f"{outgoing.stream}: an entry needs at least one field; this record has no value and no headers"
            )
        return fields


def text(name: bytes) -> str:
    """Decode a name; bytes that are not UTF-8 become surrogate escapes."""
    return name.decode("utf-8", "surrogateescape")


def raw(name: str) -> bytes:
    """Encode a name that `text` decoded."""
    return name.encode("utf-8", "surrogateescape")


def offset(entry_id: bytes) -> int:
    """Return the offset of an entry id as the server sends it."""
    milliseconds, _, sequence = entry_id.partition(b"-")
    return int(milliseconds) << 64 | int(sequence)


def entry_id(at: int) -> bytes:
    """Return the entry id of an offset."""
    return b"%d-%d" % (at >> 64, at & 0xFFFF_FFFF_FFFF_FFFF)


def pairs(flat: Sequence[object]) -> dict[bytes, object]:
    """Turn a flat reply of names and values (XINFO) into a dict."""
    return dict(zip(flat[::2], flat[1::2], strict=True))  # type: ignore[arg-type]  # names are bytes on the wire


def as_bytes(value: object) -> bytes:
    """Return a part of a reply that must be a byte string."""
    assert isinstance(value, bytes)
    return value
