"""Checks whether a consumer with one schema can read a datum that another schema wrote.

Follows "Schema Resolution" of the Avro 1.12 specification, guided by the datum: a branch, a symbol or a field that the
datum does not have causes no fault. Messages name types, never values.
"""

from __future__ import annotations

from sidecar.decoding.formats.avro.datum_tree import (
    BlocksNode,
    DatumNode,
    LeafNode,
    RecordNode,
    read_long,
    value_node,
)
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

_PROMOTIONS = {
    "int": frozenset({"int", "long", "float", "double"}),
    "long": frozenset({"long", "float", "double"}),
    "float": frozenset({"float", "double"}),
    "string": frozenset({"string", "bytes"}),
    "bytes": frozenset({"bytes", "string"}),
}
CODE = "schema.mismatch"


def find_read_fault(node: DatumNode, reader: Type) -> PathFault | None:
    """Return the first place of a datum that a reader cannot read; None if it can read all of it."""
    value = value_node(node)
    chosen = _choose_branch(value.type, reader)
    if chosen is None:
        return _fault(f"expected {describe(reader)}, and the event has {describe(value.type)}")
    match value:
        case RecordNode() if isinstance(chosen, AvroRecord):
            return _find_record_fault(value, chosen)
        case BlocksNode():
            items = chosen.items if isinstance(chosen, AvroArray) else chosen.values  # type: ignore[union-attr]
            for step, item in value.items():
                fault = find_read_fault(item, items)
                if fault is not None:
                    return fault.within(_segment(step))
        case LeafNode(AvroEnum(_, symbols, _), raw) if isinstance(chosen, AvroEnum):
            if symbols[read_long(raw, 0)[0]] not in chosen.symbols and chosen.default is None:
                return _fault(f"the event has a symbol that {describe(chosen)} lacks")
    return None


def _find_record_fault(node: RecordNode, reader: AvroRecord) -> PathFault | None:
    for field in reader.fields:
        names = (field.name, *field.aliases)
        inner = next((node.fields[name] for name in names if name in node.fields), None)
        fault = None
        if inner is not None:
            fault = find_read_fault(inner, field.type)
        elif field.default is ABSENT:
            fault = _fault("the field has no default, and the event does not have it")
        if fault is not None:
            return fault.within(key_segment(field.name))
    return None


def find_write_fault(node: DatumNode, writer: Type, reader: Type) -> PathFault | None:
    """Return the first place at which a reader fails if the datum were written with another schema; None if none.

    Args:
        node: A datum that the reader's own schema wrote.
        writer: The schema that would write it.
        reader: The schema of the consumer.
    """
    value = value_node(node)
    written = _choose_branch(value.type, writer)
    if written is None:
        return _fault(f"the event has {describe(value.type)}, which {describe(writer)} cannot hold")
    chosen = _choose_branch(written, reader)
    if chosen is None:
        return _fault(f"expected {describe(reader)}, and the new version writes {describe(written)}")
    match value:
        case RecordNode() if isinstance(chosen, AvroRecord) and isinstance(written, AvroRecord):
            return _find_written_record_fault(value, written, chosen)
        case BlocksNode():
            return _find_written_items_fault(value, written, chosen)
        case LeafNode(AvroEnum(_, symbols, _), raw) if isinstance(written, AvroEnum):
            if symbols[read_long(raw, 0)[0]] not in written.symbols:
                return _fault("the event has a symbol that the new version lacks")
    return None


def _find_written_record_fault(node: RecordNode, writer: AvroRecord, reader: AvroRecord) -> PathFault | None:
    written = {field.name: field for field in writer.fields}
    for field in reader.fields:
        name = next((name for name in (field.name, *field.aliases) if name in written), None)
        inner = node.fields.get(field.name)
        fault = None
        if name is not None and inner is not None:
            fault = find_write_fault(inner, written[name].type, field.type)
        elif name is None and field.default is ABSENT:
            fault = _fault("the new version lacks the field, and the consumer's schema has no default for it")
        if fault is not None:
            return fault.within(key_segment(field.name))
    return None


def _find_written_items_fault(node: BlocksNode, writer: Type, reader: Type) -> PathFault | None:
    for step, item in node.items():
        fault = find_write_fault(item, _items(writer), _items(reader))
        if fault is not None:
            return fault.within(_segment(step))
    return None


def _items(type: Type) -> Type:
    assert isinstance(type, AvroArray | AvroMap)
    return type.items if isinstance(type, AvroArray) else type.values


def _choose_branch(writer: Type, reader: Type) -> Type | None:
    """Return the type, or the branch of a union, with which a value of the writer's type is read; None if none is."""
    if isinstance(writer, AvroUnion):
        return None
    if not isinstance(reader, AvroUnion):
        return reader if _accepts(writer, reader) else None
    exact = [branch for branch in reader.branches if _accepts(writer, branch) and type(branch) is type(writer)]
    same = [branch for branch in exact if getattr(branch, "name", None) == getattr(writer, "name", None)]
    fitting = [branch for branch in reader.branches if _accepts(writer, branch)]
    return next(iter([*same, *exact, *fitting]), None)


def _accepts(writer: Type, reader: Type) -> bool:
    """Check the kinds and names of two types, not what is inside them."""
    match writer, reader:
        case AvroPrimitive(), AvroPrimitive():
            fits = reader.name in _PROMOTIONS.get(writer.name, frozenset({writer.name}))
            return fits and _decimals_agree(writer, reader)
        case AvroFixed(), AvroFixed():
            same = _short(writer.name) == _short(reader.name) and writer.size == reader.size
            return same and _decimals_agree(writer, reader)
        case AvroRecord(name), AvroRecord(other):
            return _short(name) == _short(other)
        case AvroEnum(name), AvroEnum(other):
            return _short(name) == _short(other)
        case (AvroArray(), AvroArray()) | (AvroMap(), AvroMap()):
            return True
    return False


def _decimals_agree(writer: AvroPrimitive | AvroFixed, reader: AvroPrimitive | AvroFixed) -> bool:
    if writer.logical != "decimal" or reader.logical != "decimal":
        return True
    return writer.scale == reader.scale and writer.precision <= reader.precision


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def describe(type: Type) -> str:
    """Name a type for a person."""
    match type:
        case AvroPrimitive(name, logical):
            return name if logical is None else f"{name} ({logical})"
        case AvroUnion(branches):
            return " or ".join(map(describe, branches))
        case AvroArray():
            return "an array"
        case AvroMap():
            return "a map"
        case AvroRecord(name):
            return f"the record {name}"
        case AvroEnum(name):
            return f"the enum {name}"
        case AvroFixed(name):
            return f"the fixed {name}"


def _segment(step: str | int) -> str:
    return f"[{step}]" if isinstance(step, int) else key_segment(step)


def _fault(message: str) -> PathFault:
    return PathFault(CODE, message)
