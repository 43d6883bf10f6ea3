"""Avro object container files (Avro 1.12 specification, "Object Container Files") as a record's value.

Some producers write a whole file, with its schema, for each event. Such a value is hostile input: the size of the
schema, the inflated size of blocks, and the number of values are bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from sidecar.decoding.formats.avro.container_codecs import CONTAINER_CODECS, ContainerCodec, ContainerFault
from sidecar.decoding.formats.avro.datum_editor import edit_datum
from sidecar.decoding.formats.avro.datum_tree import Block, BlocksNode, encode_long, read_datum
from sidecar.decoding.formats.avro.schema_parser import AvroArray, AvroRecord, AvroUnion, Type
from sidecar.decoding.formats.schema_format import EditedPayload, SelfDescribedValue, UnusableSchema, ValueEdit
from sidecar.domain.bounded_cache import BoundedCache
from sidecar.domain.json_path import PathFault
from sidecar.domain.large_records import refuse_on_event_loop

MAGIC = b"Obj\x01"
MAX_STEP_BYTES = 8 << 10
"""Size of a schema that is not cached, or of all blocks, above which a file is left to a thread."""
_SYNC_BYTES = 16
_MAX_METADATA_ENTRIES = 100
_MAX_SCHEMA_BYTES = 256 << 10
_MAX_INFLATED_BYTES = 2 << 20
_MAX_RECORDS = 10_000
_MAX_BLOCKS = 1_000
_MAX_SCHEMAS = 100
_MAX_VARINT_BYTES = 10


class ContainerSchema(Struct, frozen=True):
    """The schema of a file, compiled."""

    root: Type
    decode: Callable[[bytes, int], Any]
    """Decodes an array of its values."""


class _FileBlock(Struct, frozen=True):
    count: int
    """Number of records."""
    payload: bytes
    """The records, inflated."""
    raw: bytes
    """The whole block, as it is in the file."""

    def as_array_block(self) -> bytes:
        """Return the records as a block of an array: an array writes its items as a file its records."""
        return encode_long(self.count) + self.payload if self.count else b""


class _ContainerFile(Struct, frozen=True):
    head: bytes
    """Everything before the blocks."""
    sync: bytes
    codec: ContainerCodec
    schema: ContainerSchema
    blocks: Sequence[_FileBlock]

    @property
    def count(self) -> int:
        return sum(block.count for block in self.blocks)

    def as_array(self) -> bytes:
        """Return all records as one array."""
        return b"".join(block.as_array_block() for block in self.blocks) + b"\0"


class ContainerReader:
    """Reads and edits container files, and keeps the schemas seen lately."""

    def __init__(self, compile: Callable[[str], ContainerSchema]) -> None:
        """Create a reader. `compile` compiles a schema text; it raises UnusableSchema."""
        self._compile = compile
        self._schemas: BoundedCache[bytes, ContainerSchema] = BoundedCache(_MAX_SCHEMAS)

    def read(self, data: bytes) -> SelfDescribedValue | None:
        """Decode a file: its only record, or the list of all. Returns None for any other bytes. Raises NeedsThread."""
        if data[:4] != MAGIC:
            return None
        try:
            file, records = self._read(data)
        except (ContainerFault, UnusableSchema):
            return None
        if len(records) != 1:
            return SelfDescribedValue(records, _name_of(file.schema.root))
        payload = next(block.payload for block in file.blocks if block.count)
        return SelfDescribedValue(records[0], _name_of(file.schema.root, payload))

    def edit(self, data: bytes, edits: Sequence[ValueEdit]) -> EditedPayload | None:
        """Edit records of a file that `read` accepts; all others keep their bytes. Returns None for any other bytes.

        Paths are those of the value that `read` gives. Raises PathFault, as `CompiledSchema.edit` does.
        """
        if data[:4] != MAGIC:
            return None
        try:
            file, _ = self._read(data)
        except (ContainerFault, UnusableSchema):
            return None
        return _edit_file(file, edits)

    def _read(self, data: bytes) -> tuple[_ContainerFile, list[Any]]:
        metadata, at = _read_metadata(data, len(MAGIC))
        sync, at = _take(data, at, _SYNC_BYTES)
        schema = self._schema(metadata.get("avro.schema", b""))
        codec = CONTAINER_CODECS.get(metadata.get("avro.codec", b"null") or b"null")
        if codec is None:
            raise ContainerFault("unknown codec")
        blocks: list[_FileBlock] = []
        head, left, count_left = data[:at], _MAX_INFLATED_BYTES, _MAX_RECORDS
        while at < len(data):
            if len(blocks) >= _MAX_BLOCKS:
                raise ContainerFault("too many blocks")
            start = at
            count, at = _read_long(data, at)
            size, at = _read_long(data, at)
            packed, at = _take(data, at, size)
            end, at = _take(data, at, _SYNC_BYTES)
            if end != sync or not 0 <= count <= count_left:
                raise ContainerFault("a block is broken")
            payload = codec.inflate(packed, left)
            left, count_left = left - len(payload), count_left - count
            blocks.append(_FileBlock(count, payload, data[start:at]))
        if _MAX_INFLATED_BYTES - left > MAX_STEP_BYTES:
            refuse_on_event_loop()
        file = _ContainerFile(head, sync, codec, schema, blocks)
        records: list[Any] = []
        for block in blocks:
            values = schema.decode(block.as_array_block() + b"\0", 0)
            if isinstance(values, PathFault):
                raise ContainerFault(values.message)
            records += values
        return file, records

    def _schema(self, text: bytes) -> ContainerSchema:
        schema = self._schemas.find(text)
        if schema is None:
            if len(text) > _MAX_SCHEMA_BYTES:
                raise ContainerFault("the schema is too long")
            if len(text) > MAX_STEP_BYTES:
                refuse_on_event_loop()
            schema = self._schemas[text] = self._compile(text.decode("utf-8", "replace"))
        return schema


def _name_of(root: Type, payload: bytes | None = None) -> str | None:
    """Return the name of the record that a schema is; of a union, that of the branch of the record in `payload`."""
    if isinstance(root, AvroUnion) and payload is not None:
        root = root.branches[_read_long(payload, 0)[0]]
    return root.name if isinstance(root, AvroRecord) else None


def _edit_file(file: _ContainerFile, edits: Sequence[ValueEdit]) -> EditedPayload:
    root = file.schema.root
    if file.count == 1:
        (index,) = [index for index, block in enumerate(file.blocks) if block.count]
        edited = edit_datum(root, file.blocks[index].payload, edits)
        blocks = list(file.blocks)
        blocks[index] = _write_block(file, 1, edited.data)
        return replace(edited, data=file.head + b"".join(block.raw for block in blocks))
    edited = edit_datum(AvroArray(root), file.as_array(), edits)
    array, _ = read_datum(AvroArray(root), edited.data, 0)
    assert isinstance(array, BlocksNode)
    # A block whose records did not change keeps its bytes.
    known = {(block.count, block.payload): block for block in file.blocks}
    blocks = [
        known.get(key := (len(block.items), _content_of(block))) or _write_block(file, *key) for block in array.blocks
    ]
    return replace(edited, data=file.head + b"".join(block.raw for block in blocks))


def _content_of(block: Block) -> bytes:
    return b"".join(item.encode() for item in block.items)


def _write_block(file: _ContainerFile, count: int, payload: bytes) -> _FileBlock:
    packed = file.codec.compress(payload)
    return _FileBlock(count, payload, encode_long(count) + encode_long(len(packed)) + packed + file.sync)


def _read_metadata(data: bytes, at: int) -> tuple[dict[str, bytes], int]:
    """Read the map of names to bytes at the head of a file, and the index after it."""
    metadata: dict[str, bytes] = {}
    left = _MAX_METADATA_ENTRIES
    while True:
        count, at = _read_long(data, at)
        if count < 0:
            count, at = -count, _read_long(data, at)[1]
        if not count:
            return metadata, at
        left -= count
        if left < 0:
            raise ContainerFault("too much metadata")
        for _ in range(count):
            name, at = _take(data, *reversed(_read_long(data, at)))
            value, at = _take(data, *reversed(_read_long(data, at)))
            metadata[name.decode("utf-8", "replace")] = value


def _read_long(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    for index in range(at, min(at + _MAX_VARINT_BYTES, len(data))):
        number |= (data[index] & 0x7F) << shift
        if data[index] < 0x80:
            return (number >> 1) ^ -(number & 1), index + 1
        shift += 7
    raise ContainerFault("expected a number")


def _take(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    if size < 0 or at + size > len(data):
        raise ContainerFault("the bytes end too early")
    return data[at : at + size], at + size
