"""Encoder of new values into a datum tree.

A new value keeps the union branch of the old one, and equal parts their bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from decimal import Context, Decimal
from functools import lru_cache
from io import BytesIO
from typing import Any

import msgspec
from fastavro import schemaless_reader

from sidecar.decoding.formats.avro.datum_tree import (
    Block,
    BlocksNode,
    DatumNode,
    LeafNode,
    RecordNode,
    UnionNode,
    encode_bytes,
    encode_long,
    value_node,
)
from sidecar.decoding.formats.avro.fastavro_schema import reading_schema
from sidecar.decoding.formats.avro.json_encoder import branch_name, conform, default_value
from sidecar.decoding.formats.avro.json_scalars import TypeMismatch
from sidecar.decoding.formats.avro.schema_parser import (
    AvroArray,
    AvroEnum,
    AvroField,
    AvroFixed,
    AvroMap,
    AvroPrimitive,
    AvroRecord,
    AvroUnion,
    Type,
)
from sidecar.domain.json_path import PathFault, key_segment
from sidecar.domain.json_safe import to_json

MAX_EDIT_DEPTH = 100
_EXACT = Context(prec=10_000)


def encode_like(value: Any, type: Type, old: DatumNode | None, depth: int) -> DatumNode:
    """Encode a value. If it equals the old value, it keeps the old bytes."""
    if depth > MAX_EDIT_DEPTH:
        raise PathFault("decode.limit", f"expected values at most {MAX_EDIT_DEPTH} deep")
    if old is not None and old.type is type and _says(old, value):
        return old
    match type:
        case AvroUnion():
            return _encode_union(value, type, old, depth)
        case AvroRecord():
            return _encode_record(value, type, _same_kind(old, RecordNode), depth)
        case AvroArray():
            if not isinstance(value, list | tuple):
                raise TypeMismatch("array", value)
            return _encode_array(value, type, _same_kind(old, BlocksNode), depth)
        case AvroMap():
            if not isinstance(value, Mapping):
                raise TypeMismatch("map", value)
            return _encode_map(value, type, _same_kind(old, BlocksNode), depth)
        case AvroPrimitive() | AvroFixed() | AvroEnum():
            return LeafNode(type, _encode_leaf(conform(value, type), type))


def _same_kind(old: DatumNode | None, kind: Any) -> Any:
    node = None if old is None else value_node(old)
    return node if isinstance(node, kind) else None


def _encode_union(value: Any, type: AvroUnion, old: DatumNode | None, depth: int) -> UnionNode:
    """Prefer the branch of the old value, unless the new one names its branch as Avro's JSON does."""
    names = {name for branch in type.branches for name in (branch_name(branch), branch_name(branch).rpartition(".")[2])}
    is_tagged = isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in names
    inner = old.inner if isinstance(old, UnionNode) else old
    if isinstance(old, UnionNode) and not is_tagged:
        branch = _branch_like(type, old)
        if branch is not None:
            try:
                made = encode_like(value, type.branches[branch], inner, depth + 1)
            except PathFault:
                pass
            else:
                return UnionNode(type, branch, made, encode_long(branch))
    name, _ = conform(value, type)
    branch = next(n for n, each in enumerate(type.branches) if branch_name(each) == name)
    if is_tagged and next(iter(value)) in (name, name.rpartition(".")[2]):
        try:
            made = encode_like(value[next(iter(value))], type.branches[branch], inner, depth + 1)
        except PathFault:  # it is a value with one field that is named as the branch is
            made = encode_like(value, type.branches[branch], inner, depth + 1)
    else:
        made = encode_like(value, type.branches[branch], inner, depth + 1)
    return UnionNode(type, branch, made, encode_long(branch))


def _branch_like(type: AvroUnion, old: UnionNode) -> int | None:
    """Find the branch that the old value has; by its name if the old value is of another schema."""
    if old.type is type:
        return old.branch
    name = branch_name(old.branch_type)
    return next((n for n, each in enumerate(type.branches) if branch_name(each) == name), None)


def _encode_record(value: Any, type: AvroRecord, old: RecordNode | None, depth: int) -> RecordNode:
    if not isinstance(value, Mapping):
        raise TypeMismatch(f"record {type.name}", value)
    known = {name for each in type.fields for name in (each.name, *each.aliases)}
    for name in value:
        if name not in known:
            fields = ", ".join(each.name for each in type.fields[:20])
            fault = PathFault("schema.mismatch", f"the schema has no such field; it has {fields}")
            raise fault.within(key_segment(str(name)))
    made: dict[str, DatumNode] = {}
    for each in type.fields:
        name = next((name for name in (each.name, *each.aliases) if name in value), None)
        try:
            if name is None:
                made[each.name] = encode_absent(each)
            else:
                part = None if old is None else old.fields.get(each.name)
                made[each.name] = encode_like(value[name], each.type, part, depth + 1)
        except PathFault as fault:
            raise fault.within(key_segment(each.name)) from None
    return RecordNode(type, made)


def encode_absent(field: AvroField) -> DatumNode:
    """Encode the value of a missing field: its default, or null."""
    value, type = default_value(field)
    node = encode_like(value, type, None, 0)
    if type is not field.type:
        assert isinstance(field.type, AvroUnion)
        branch = field.type.branches.index(type)
        return UnionNode(field.type, branch, node, encode_long(branch))
    return node


def _encode_array(values: Sequence[Any], type: AvroArray, old: BlocksNode | None, depth: int) -> BlocksNode:
    items = [] if old is None else [item for _, item in old.items()]
    by_content = {_content(item): item for item in items if item.type is type.items}
    made: list[DatumNode] = []
    for number, value in enumerate(values):
        like = items[number] if number < len(items) else None
        if like is None or not _says(like, value):
            like = by_content.get(_to_json(value), like)
        try:
            made.append(encode_like(value, type.items, like, depth + 1))
        except PathFault as fault:
            raise fault.within(f"[{number}]") from None
    return BlocksNode(type, [Block(made)] if made else [])


def _encode_map(values: Mapping[str, Any], type: AvroMap, old: BlocksNode | None, depth: int) -> BlocksNode:
    items = {} if old is None else dict(old.items())
    node = BlocksNode(type, [])
    for name, value in values.items():
        try:
            node.add(str(name), encode_like(value, type.values, items.get(name), depth + 1))
        except PathFault as fault:
            raise fault.within(key_segment(str(name))) from None
    return node


def _encode_leaf(value: Any, type: AvroPrimitive | AvroFixed | AvroEnum) -> bytes:
    """Encode what `conform` made of a value."""
    match type:
        case AvroEnum(symbols=symbols):
            return encode_long(symbols.index(value))
        case AvroFixed(size=size):
            return (
                value.to_bytes(size, "big", signed=True) if isinstance(value := _unscale(value, type), int) else value
            )
        case AvroPrimitive("null"):
            return b""
        case AvroPrimitive("boolean"):
            return b"\x01" if value else b"\x00"
        case AvroPrimitive("int" | "long"):
            return encode_long(value)
        case AvroPrimitive("float"):
            return _pack("<f", value, type)
        case AvroPrimitive("double"):
            return _pack("<d", value, type)
        case AvroPrimitive("bytes"):
            number = _unscale(value, type)
            if isinstance(number, int):
                return encode_bytes(number.to_bytes((number.bit_length() + 8) // 8, "big", signed=True))
            return encode_bytes(value)
    try:
        return encode_bytes(value.encode())
    except UnicodeEncodeError:
        raise TypeMismatch("text of Unicode characters", value) from None


def _pack(form: str, value: float, type: AvroPrimitive) -> bytes:
    try:
        return struct.pack(form, value)
    except OverflowError:
        raise TypeMismatch(type.name, value) from None


def _unscale(value: Any, type: AvroPrimitive | AvroFixed) -> Any:
    """Return the unscaled number of a decimal; anything else as it is."""
    return int(value.scaleb(type.scale, _EXACT)) if isinstance(value, Decimal) else value


def _decode_node(node: DatumNode) -> Any:
    return schemaless_reader(BytesIO(node.encode()), _reading_schema(node.type), None)


@lru_cache(maxsize=500)
def _reading_schema(type: Type) -> Any:
    return reading_schema(type)


def _content(node: DatumNode) -> bytes:
    return _to_json(_decode_node(node))


def _says(node: DatumNode, value: Any) -> bool:
    """Return True if a value is written as the node is shown, in JSON."""
    return _content(node) == _to_json(value)


def _to_json(value: Any) -> bytes:
    return msgspec.json.encode(to_json(value), order="sorted")
