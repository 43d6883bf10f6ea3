"""Entries of Redis streams as records, and records as entries. Raw replies keep what a dict of fields loses: repeated
names, and their order."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.domain.errors import Refused
from sidecar.domain.model import Outgoing, Record
from sidecar.domain.position import Position

SYSTEM = "redis"
RawEntry = tuple[bytes, list[bytes] | None]
"""An entry as the server sends it: its id, and names and values in turn (None: deleted, or trimmed)."""
_SHAPES = 1024
_LONGEST_SHAPE = 64


class EntryCodec:
    """Turns raw entries into records. Entries of one producer have the same field names again and again, so what
    follows from the names (where the body is, how the others read as text) is kept, in bounds."""

    def __init__(self, body_field: str) -> None:
        self.body = body_field.encode("utf-8", "surrogateescape")
        self._shapes: dict[tuple[bytes, ...], tuple[int, tuple[str, ...]]] = {}

    def records(self, stream: str, entries: Sequence[RawEntry]) -> list[Record]:
        """Records of entries that are there (see `gone`)."""
        records: list[Record] = []
        shapes, append = self._shapes, records.append
        for entry_id, fields in entries:
            assert fields is not None
            milliseconds, _, sequence = entry_id.partition(b"-")
            timestamp = int(milliseconds)
            names = tuple(fields[::2])
            shape = shapes.get(names)
            if shape is None:
                shape = self._learn(names)
            at, texts = shape
            values = fields[1::2]
            value = values.pop(at) if at >= 0 else None
            append(
                Record(
                    Position(SYSTEM, stream, 0, timestamp << 64 | int(sequence)),
                    None,
                    value,
                    tuple(zip(texts, values)),  # noqa: B905  # as long as each other, and 0.1 µs less
                    timestamp,
                    at if at > 0 else 0,
                )
            )
        return records

    def _learn(self, names: tuple[bytes, ...]) -> tuple[int, tuple[str, ...]]:
        at = names.index(self.body) if self.body in names else -1
        others = names if at < 0 else names[:at] + names[at + 1 :]
        shape = at, tuple(text(name) for name in others)
        if len(names) <= _LONGEST_SHAPE and sum(map(len, names)) <= 1024:
            if len(self._shapes) >= _SHAPES:
                self._shapes.clear()
            self._shapes[names] = shape
        return shape

    def fields(self, outgoing: Outgoing) -> list[bytes]:
        """Names and values in turn, as `XADD` takes them. Raises Refused for what an entry cannot hold."""
        if outgoing.key is not None:
            raise Refused(f"{outgoing.stream}: a Redis stream has no keys; leave the record's key out")
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
    """Bytes of a name as text; what is not UTF-8 stands as surrogate escapes."""
    return name.decode("utf-8", "surrogateescape")


def raw(name: str) -> bytes:
    """The bytes that `text` read."""
    return name.encode("utf-8", "surrogateescape")


def offset(entry_id: bytes) -> int:
    """The offset of an entry id as the server sends it."""
    milliseconds, _, sequence = entry_id.partition(b"-")
    return int(milliseconds) << 64 | int(sequence)


def entry_id(at: int) -> bytes:
    """The entry id of an offset."""
    return b"%d-%d" % (at >> 64, at & 0xFFFF_FFFF_FFFF_FFFF)


def pairs(flat: Sequence[object]) -> dict[bytes, object]:
    """A flat reply of names and values (XINFO) as a dict."""
    return dict(zip(flat[::2], flat[1::2], strict=True))  # type: ignore[arg-type]  # names are bytes on the wire
