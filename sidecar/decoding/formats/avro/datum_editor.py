"""Edits of an encoded Avro datum: edited paths are encoded again, and every other value keeps its bytes.

A new value takes the union branch of the old value if it fits. Parts of a new object or list that are equal to the old
ones keep their bytes too. Finally the result is decoded and compared with the original, path by path: if a path that is
not edited differs, the edit is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sidecar.decoding.formats.avro.datum_encoder import encode_absent, encode_like
from sidecar.decoding.formats.avro.datum_tree import (
    BlocksNode,
    DatumNode,
    LeafNode,
    RecordNode,
    UnionNode,
    read_datum,
    value_node,
)
from sidecar.decoding.formats.avro.json_encoder import branch_name
from sidecar.decoding.formats.avro.schema_parser import (
    AvroArray,
    AvroMap,
    Type,
)
from sidecar.decoding.formats.schema_format import EditedPayload, RetypedValue, ValueEdit
from sidecar.domain.json_path import PathFault, key_segment, print_steps

_Steps = tuple[str | int, ...]


def edit_datum(root: Type, data: bytes, edits: Sequence[ValueEdit]) -> EditedPayload:
    """Edit a datum. Raises PathFault if an edit does not fit the schema, or if another path would change."""
    tree, _ = read_datum(root, data, 0)
    changed: list[_Steps] = []
    for edit in edits:
        tree = _remove(tree, edit.steps) if edit.removed else _replace(tree, edit.steps, edit.value)
        changed.append(_changed_path(edit))
    result = tree.encode()
    before, _ = read_datum(root, data, 0)
    after, end = read_datum(root, result, 0)
    assert end == len(result), "the edited datum is encoded whole"
    _compare(before, after, (), frozenset(changed))
    retyped = (_find_retyped(before, after, steps) for steps in changed)
    return EditedPayload(result, tuple(value for value in retyped if value is not None))


def encode_edited_datum(value: Any, root: Type, old_root: Type, data: bytes, edits: Sequence[ValueEdit]) -> bytes:
    """Encode an edited value of a datum that another schema wrote, with the union branches of that datum.

    Raises PathFault if the value does not fit, or if the branch at a path that is not edited would differ.
    """
    old, _ = read_datum(old_root, data, 0)
    result = encode_like(value, root, old, 0).encode()
    new, _ = read_datum(root, result, 0)
    before, after = dict(_branches(old, ())), dict(_branches(new, ()))
    changed = [_changed_path(edit) for edit in edits]
    for steps, name in before.items():
        is_edited = any(steps[: len(path)] == path for path in changed)
        if not is_edited and after.get(steps, name) != name:
            raise _changes(steps)
    return result


def _branches(node: DatumNode, steps: _Steps) -> Iterator[tuple[_Steps, str]]:
    """Iterate over the values of unions, each with its path and the short name of its branch."""
    if isinstance(node, UnionNode):
        yield steps, branch_name(node.branch_type).rpartition(".")[2]
        yield from _branches(node.inner, steps)
    elif isinstance(node, RecordNode):
        for name, child in node.fields.items():
            yield from _branches(child, (*steps, name))
    elif isinstance(node, BlocksNode):
        for step, child in node.items():
            yield from _branches(child, (*steps, step))


def _changed_path(edit: ValueEdit) -> _Steps:
    """Return the path at or below which values may differ: the list of a removed item, whose later items move."""
    return edit.steps[:-1] if edit.removed and isinstance(edit.steps[-1], int) else edit.steps


def _at(fault: PathFault, steps: _Steps) -> PathFault:
    for step in reversed(steps):
        fault.within(f"[{step}]" if isinstance(step, int) else key_segment(step))
    return fault


# --- replacing and removing -------------------------------------------------------------------------------------------


def _replace(node: DatumNode, steps: _Steps, value: Any) -> DatumNode:
    if not steps:
        return encode_like(value, node.type, node, 0)
    holder, step = value_node(node), steps[0]
    if isinstance(holder, BlocksNode) and isinstance(holder.type, AvroMap) and isinstance(step, str):
        place = holder.find(step)
        if place is None and len(steps) == 1:
            try:
                holder.add(step, encode_like(value, holder.type.values, None, 0))
            except PathFault as fault:
                raise _at(fault, (step,)) from None
            return node
    try:
        child = _child(holder, step)
        _put(holder, step, _replace(child, steps[1:], value))
    except PathFault as fault:
        raise _at(fault, (step,)) from None
    return node


def _remove(node: DatumNode, steps: _Steps) -> DatumNode:
    holder, step = value_node(node), steps[0]
    try:
        child = _child(holder, step)
        if len(steps) > 1:
            _put(holder, step, _remove(child, steps[1:]))
        elif isinstance(holder, RecordNode):
            field = next(each for each in holder.type.fields if each.name == step)
            _put(holder, step, encode_absent(field))
        elif isinstance(holder, BlocksNode):
            holder.remove(step)
    except PathFault as fault:
        raise _at(fault, (step,)) from None
    return node


def _child(holder: LeafNode | RecordNode | BlocksNode, step: str | int) -> DatumNode:
    """Find a part of a value. Raises PathFault without a path if it is not there."""
    if isinstance(holder, RecordNode):
        child = holder.fields.get(step) if isinstance(step, str) else None
        if child is None:
            fields = ", ".join(list(holder.fields)[:20])
            raise PathFault("schema.mismatch", f"the schema has no such field; it has {fields}")
        return child
    if isinstance(holder, BlocksNode):
        place = holder.find(step)
        if place is not None:
            block, number = place
            return block.items[number]
        count = sum(len(block.items) for block in holder.blocks)
        if isinstance(holder.type, AvroArray):
            raise PathFault("schema.mismatch", f"the list has {count} items, so there is no {step}")
        raise PathFault("schema.mismatch", f"the map has {count} entries, and none has this name")
    raise PathFault("schema.mismatch", f"expected an object or list that could have {step!r}")


def _put(holder: LeafNode | RecordNode | BlocksNode, step: str | int, child: DatumNode) -> None:
    if isinstance(holder, RecordNode):
        holder.fields[str(step)] = child
    elif isinstance(holder, BlocksNode):
        place = holder.find(step)
        assert place is not None
        block, number = place
        block.items[number] = child
        holder.touch()


# --- comparing --------------------------------------------------------------------------------------------------------


def _compare(before: DatumNode, after: DatumNode, steps: _Steps, changed: frozenset[_Steps]) -> None:
    """Raise PathFault where two data differ at a path that is not at or below a changed one."""
    if steps in changed:
        return
    if not any(path[: len(steps)] == steps for path in changed):
        if before.encode() != after.encode():
            raise _changes(steps)
        return
    if isinstance(before, UnionNode) and isinstance(after, UnionNode):
        if before.branch != after.branch:
            raise _changes(steps)
        _compare(before.inner, after.inner, steps, changed)
    elif isinstance(before, RecordNode) and isinstance(after, RecordNode):
        for name in before.fields:
            _compare(before.fields[name], after.fields[name], (*steps, name), changed)
    elif isinstance(before, BlocksNode) and isinstance(after, BlocksNode):
        old, new = dict(before.items()), dict(after.items())
        for step in dict.fromkeys((*old, *new)):
            if (*steps, step) in changed:
                continue
            if step not in old or step not in new:
                raise _changes((*steps, step))
            _compare(old[step], new[step], (*steps, step), changed)
    else:
        raise _changes(steps)


def _changes(steps: _Steps) -> PathFault:
    fault = PathFault("schema.mismatch", "this value would change although it is not edited: edit it too")
    return _at(fault, steps)


def _find_retyped(before: DatumNode, after: DatumNode, steps: _Steps) -> RetypedValue | None:
    """Return the old and the new branch of a union, if an edit took another branch."""
    old, new = _node_at(before, steps), _node_at(after, steps)
    if not isinstance(old, UnionNode) or not isinstance(new, UnionNode) or old.branch == new.branch:
        return None
    names = branch_name(old.branch_type), branch_name(new.branch_type)
    if "null" not in names:  # else the value itself shows it
        return RetypedValue(print_steps(steps), *names)
    return None


def _node_at(node: DatumNode, steps: _Steps) -> DatumNode | None:
    try:
        for step in steps:
            node = _child(value_node(node), step)
    except PathFault:
        return None
    return node
