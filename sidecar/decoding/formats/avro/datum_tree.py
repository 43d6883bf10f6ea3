"""An Avro datum as a tree of encoded values, so that one value can be replaced while all others keep their bytes.

Decoding to Python values and encoding again loses information: the branch of a union, whether a number was a float or a
double, a text an enum or a string, an object a map or a record. It also fails for values outside their logical type.
The tree keeps the bytes of every value. (Avro 1.12 specification, "Binary Encoding".)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from sidecar.decoding.formats.avro.schema_parser import (
    AvroArray,
    AvroEnum,
    AvroFixed,
    AvroMap,
    AvroPrimitive,
    AvroRecord,
    AvroUnion,
    Type,
)

_FIXED_WIDTH_BYTES = {"null": 0, "boolean": 1, "float": 4, "double": 8}


@dataclass(eq=False, slots=True)
class LeafNode:
    """A value without parts, as its bytes."""

    type: AvroPrimitive | AvroFixed | AvroEnum
    raw: bytes

    def encode(self) -> bytes:
        """Encode the value."""
        return self.raw


@dataclass(eq=False, slots=True)
class UnionNode:
    """A value of a union, with the index of its branch."""

    type: AvroUnion
    branch: int
    inner: DatumNode
    prefix: bytes
    """Index of the branch as it was written."""

    def encode(self) -> bytes:
        """Encode the value."""
        return self.prefix + self.inner.encode()

    @property
    def branch_type(self) -> Type:
        return self.type.branches[self.branch]


@dataclass(eq=False, slots=True)
class RecordNode:
    """A record: its fields in the schema's order."""

    type: AvroRecord
    fields: dict[str, DatumNode]

    def encode(self) -> bytes:
        """Encode the value."""
        return b"".join(node.encode() for node in self.fields.values())


@dataclass(eq=False, slots=True)
class Block:
    """A block of an array's items, or of a map's entries."""

    items: list[DatumNode]
    keys: list[str] = field(default_factory=list)
    """Names of the items; empty for an array."""
    key_bytes: list[bytes] = field(default_factory=list)
    header: bytes | None = None
    """Count (and size) of the block as it was written; None after a change of the block."""
    has_size: bool = False

    def encode(self) -> bytes:
        """Encode the value."""
        keys = self.key_bytes or [b""] * len(self.items)
        content = b"".join(key + item.encode() for key, item in zip(keys, self.items, strict=True))
        if self.header is not None:
            return self.header + content
        if not self.items:
            return b""
        if self.has_size:
            return encode_long(-len(self.items)) + encode_long(len(content)) + content
        return encode_long(len(self.items)) + content


@dataclass(eq=False, slots=True)
class BlocksNode:
    """An array or a map, in its original blocks."""

    type: AvroArray | AvroMap
    blocks: list[Block]

    def encode(self) -> bytes:
        """Encode the value."""
        return b"".join(block.encode() for block in self.blocks) + b"\x00"

    def items(self) -> Iterator[tuple[str | int, DatumNode]]:
        """Iterate over the items with their indexes or names."""
        index = 0
        for block in self.blocks:
            for number, item in enumerate(block.items):
                yield (block.keys[number] if block.keys else index), item
                index += 1

    def find(self, step: str | int) -> tuple[Block, int] | None:
        """Find the block with an item, and the item's index in it. Of a repeated name, the last entry counts."""
        result: tuple[Block, int] | None = None
        index = 0
        for block in self.blocks:
            for number in range(len(block.items)):
                if (block.keys[number] if block.keys else index) == step:
                    result = block, number
                index += 1
        return result

    def touch(self) -> None:
        """Drop the written sizes, because an item inside was replaced."""
        for block in self.blocks:
            if block.has_size:
                block.header = None

    def remove(self, step: str | int) -> None:
        """Remove an item; of a repeated name, every entry."""
        while (place := self.find(step)) is not None:
            block, number = place
            del block.items[number]
            if block.keys:
                del block.keys[number], block.key_bytes[number]
            block.header = None
            if isinstance(step, int):
                break

    def add(self, key: str, item: DatumNode) -> None:
        """Add an entry to a map."""
        if not self.blocks:
            self.blocks.append(Block([]))
        block = self.blocks[-1]
        block.items.append(item)
        block.keys.append(key)
        block.key_bytes.append(encode_bytes(key.encode()))
        block.header = None


DatumNode: TypeAlias = LeafNode | UnionNode | RecordNode | BlocksNode


def read_datum(type: Type, data: bytes, start: int) -> tuple[DatumNode, int]:
    """Read a datum that was decoded before, so that its bytes are valid. Returns it and the index after it."""
    match type:
        case AvroUnion():
            branch, at = read_long(data, start)
            inner, end = read_datum(type.branches[branch], data, at)
            return UnionNode(type, branch, inner, data[start:at]), end
        case AvroRecord():
            fields: dict[str, DatumNode] = {}
            for each in type.fields:
                fields[each.name], start = read_datum(each.type, data, start)
            return RecordNode(type, fields), start
        case AvroArray() | AvroMap():
            return _read_blocks(type, data, start)
        case AvroPrimitive(name) if name in _FIXED_WIDTH_BYTES:
            end = start + _FIXED_WIDTH_BYTES[name]
        case AvroPrimitive("bytes" | "string"):
            length, at = read_long(data, start)
            end = at + length
        case AvroPrimitive() | AvroEnum():
            _, end = read_long(data, start)
        case AvroFixed():
            end = start + type.size
    return LeafNode(type, data[start:end]), end


def _read_blocks(type: AvroArray | AvroMap, data: bytes, start: int) -> tuple[BlocksNode, int]:
    blocks: list[Block] = []
    while True:
        count, at = read_long(data, start)
        if count == 0:
            return BlocksNode(type, blocks), at
        has_size = count < 0
        if has_size:
            _, at = read_long(data, at)
        block = Block([], header=data[start:at], has_size=has_size)
        for _ in range(abs(count)):
            if isinstance(type, AvroMap):
                length, key_at = read_long(data, at)
                block.keys.append(data[key_at : key_at + length].decode("utf-8", "replace"))
                block.key_bytes.append(data[at : key_at + length])
                at = key_at + length
            item, at = read_datum(type.values if isinstance(type, AvroMap) else type.items, data, at)
            block.items.append(item)
        blocks.append(block)
        start = at


def read_long(data: bytes, at: int) -> tuple[int, int]:
    """Read a zigzag number. Returns it and the index after it."""
    shift = number = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at
        shift += 7


def encode_long(number: int) -> bytes:
    """Encode a number as zigzag."""
    left = (number << 1) ^ (number >> 63)
    out = bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)


def encode_bytes(data: bytes) -> bytes:
    """Encode bytes with their length before them."""
    return encode_long(len(data)) + data


def value_node(node: DatumNode) -> LeafNode | RecordNode | BlocksNode:
    """Return the node of the value inside its unions."""
    while isinstance(node, UnionNode):
        node = node.inner
    return node
