"""An edit of an Avro body changes no byte outside the edited paths: branches, widths and forms stay."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.dead_letters.ledger_entries import PathChange
from sidecar.decoding.formats.avro import schema_parser
from sidecar.decoding.formats.avro.datum_editor import edit_datum
from sidecar.decoding.formats.avro.datum_tree import BlocksNode, DatumNode, LeafNode, RecordNode, UnionNode, read_datum
from sidecar.decoding.formats.schema_format import ValueEdit
from sidecar.domain.json_path import PathFault
from sidecar.domain.json_safe import ExactFloat
from sidecar.domain.json_safe import to_json as as_json
from sidecar.domain.model import Record, Rejection
from sidecar.domain.position import Position
from sidecar.replay.models import BodyEdit, UnsendableLetter
from tests.support.avro_payloads import encoded, schema
from tests.support.avro_strategies import plain, schemas
from tests.unit.decoding.avro.test_decoding_fuzz import NoEnd, value_of
from tests.unit.replay.edit.test_editor import Desk, framed

FIELDS = [{"name": "order", "type": "string"}, {"name": "n", "type": "int"}]
ORDERS: Any = [
    {"type": "record", "name": name, "namespace": "shop", "fields": FIELDS} for name in ("Created", "Cancelled")
]
COLOR = {"type": "enum", "name": "Color", "symbols": ["RED", "GREEN"]}
ADDRESS = {"type": "record", "name": "Addr", "fields": [{"name": "city", "type": "string"}]}
CHANGES = [
    {"type": "record", "name": name, "fields": [{"name": "sku", "type": "string"}]} for name in ("Add", "Remove")
]
WIDE: Any = {
    "type": "record",
    "name": "Wide",
    "fields": [
        {"name": "fd", "type": ["null", "float", "double"]},
        {"name": "se", "type": ["null", "string", COLOR]},
        {"name": "mr", "type": [{"type": "map", "values": "string"}, ADDRESS]},
        {"name": "bs", "type": ["string", "bytes"]},
        {"name": "items", "type": {"type": "array", "items": CHANGES}},
        {"name": "uid", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "n", "type": "int"},
    ],
}
VALUE: dict[str, Any] = {
    "fd": ("double", 0.1),
    "se": ("Color", "GREEN"),
    "mr": ("Addr", {"city": "Ulm"}),
    "bs": b"octets",
    "items": [("Remove", {"sku": "A-1"}), ("Add", {"sku": "A-2"}), ("Remove", {"sku": "A-3"})],
    "uid": "not-a-uuid",
    "n": 1,
}


def plain_schema(declared: Any) -> Any:
    """Return the schema without logical types, for a writer that refuses values outside of them."""
    return json.loads(json.dumps(declared).replace('{"type": "string", "logicalType": "uuid"}', '"string"'))


def wide(id: int, **values: Any) -> bytes:
    return framed(id, plain_schema(WIDE), {**VALUE, **values})


@pytest.fixture
async def desk() -> Any:
    made = Desk()
    yield made
    await made.catalog.close()


async def test_a_cancelled_order_stays_cancelled(desk: Desk) -> None:
    id = desk.registry.register("orders-value", json.dumps(ORDERS)).id or 0
    value = b"\x00" + id.to_bytes(4, "big") + bytes.fromhex("02083437313102")
    edited = await desk.edit(value, BodyEdit(set={"n": 2}))
    assert edited.value == value[:-1] + b"\x04"
    assert edited.changes == (PathChange("n", 1, 2),)
    record = Record(Position("kafka", "orders", 0, 8), None, edited.value, (), 1)
    (decoded,) = await desk.payloads.open([record])
    assert decoded.event.type == "Cancelled"


@pytest.mark.parametrize(
    ("edit", "changed"),
    [
        (BodyEdit(set={"n": 2}), {"n": 2}),
        (BodyEdit(set={"fd": 2}), {"fd": ("double", 2.0)}),
        (BodyEdit(set={"se": "RED"}), {"se": ("Color", "RED")}),
        (BodyEdit(set={"mr.city": "Bonn"}), {"mr": ("Addr", {"city": "Bonn"})}),
        (BodyEdit(set={"mr": {"city": "Bonn"}}), {"mr": ("Addr", {"city": "Bonn"})}),
        (BodyEdit(set={"bs": "other"}), {"bs": b"other"}),
        (BodyEdit(set={"items[1].sku": "x"}), {"items": [VALUE["items"][0], ("Add", {"sku": "x"}), VALUE["items"][2]]}),
        (BodyEdit(remove=("items[0]",)), {"items": VALUE["items"][1:]}),
        (BodyEdit(set={"items": [{"sku": "A-2"}, {"sku": "A-3"}]}), {"items": VALUE["items"][1:]}),
    ],
)
async def test_only_what_is_meant_changes(desk: Desk, edit: BodyEdit, changed: dict[str, Any]) -> None:
    id = desk.registry.register("orders-value", json.dumps(WIDE)).id or 0
    assert (await desk.edit(wide(id), edit)).value == wide(id, **changed)


async def test_a_whole_new_body_keeps_unchanged_parts(desk: Desk) -> None:
    id = desk.registry.register("orders-value", json.dumps(WIDE)).id or 0
    body = await desk.body(await desk.edit(wide(id), BodyEdit(set={"n": 1})))
    edited = await desk.edit(wide(id), BodyEdit(body=json.loads(json.dumps({**as_json(body), "n": 7}))))
    assert edited.value == wide(id, n=7)


async def test_another_branch_is_used_only_on_request_and_is_shown(desk: Desk) -> None:
    id = desk.registry.register("orders-value", json.dumps(WIDE)).id or 0
    edited = await desk.edit(wide(id), BodyEdit(set={"se": {"string": "GREEN"}}))
    assert edited.value == wide(id, se=("string", "GREEN"))
    assert edited.changes == (PathChange("se (type)", "Color", "string"),)
    with pytest.raises(UnsendableLetter, match="uid: expected uuid"):
        await desk.edit(wide(id), BodyEdit(set={"uid": "also-none"}))


async def test_the_branches_stay_when_another_streams_schema_is_replaced(desk: Desk) -> None:
    other = desk.registry.register("payments-value", json.dumps({**WIDE, "name": "Payment"})).id or 0
    id = desk.registry.register("orders-value", json.dumps(WIDE)).id or 0
    value = wide(other, uid="6b8d3a4e-9a3f-4f0c-8c0f-0d8b7f6e5a4d")
    edited = await desk.edit(value, BodyEdit(set={"n": 2}))
    assert edited.value == wide(id, uid="6b8d3a4e-9a3f-4f0c-8c0f-0d8b7f6e5a4d", n=2)


def tokens(node: DatumNode, steps: tuple[Any, ...] = ()) -> dict[tuple[Any, ...], Any]:
    """Return every value and branch of a datum by its path."""
    match node:
        case LeafNode():
            return {steps: node.raw}
        case UnionNode():
            return {(*steps, None): node.branch} | tokens(node.inner, steps)
        case RecordNode():
            return {
                path: raw for name, part in node.fields.items() for path, raw in tokens(part, (*steps, name)).items()
            }
        case BlocksNode():
            return {path: raw for step, part in node.items() for path, raw in tokens(part, (*steps, step)).items()}


def places(node: DatumNode, steps: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    match node:
        case UnionNode():
            return places(node.inner, steps)
        case RecordNode():
            return [steps, *(path for name, part in node.fields.items() for path in places(part, (*steps, name)))]
        case BlocksNode():
            return [steps, *(path for step, part in node.items() for path in places(part, (*steps, step)))]
    return [steps]


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(schemas(), st.randoms(use_true_random=False))
def test_any_edit_of_any_datum_of_any_schema_changes_its_path_alone(declared: Any, random: Random) -> None:
    root = schema_parser.parse(json.dumps(declared))
    read = schema(declared)
    try:
        data = encoded(plain(declared), value_of(root, random))
        other = as_json(read.decode(encoded(plain(declared), value_of(root, random)), 0))
    except (NoEnd, ValueError, OverflowError):
        return
    if isinstance(read.decode(data, 0), Rejection):
        return
    before, end = read_datum(root, data, 0)
    assert (end, before.encode()) == (len(data), data)
    steps = random.choice(places(before))
    removed = bool(steps) and random.random() < 0.2
    value = other
    for step in steps:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            value = random.choice([None, 1, 2.5, "x", True, [], {}])
    try:
        edited = edit_datum(root, data, [ValueEdit(steps, value, removed)])
    except PathFault as fault:
        refused = fault.message
    else:
        refused = ""
    assert "would change although" not in refused
    if refused:
        return
    after = tokens(read_datum(root, edited.data, 0)[0])
    whole = steps[:-1] if removed and isinstance(steps[-1], int) else steps
    assert {path: raw for path, raw in tokens(before).items() if path[: len(whole)] != whole} == {
        path: raw for path, raw in after.items() if path[: len(whole)] != whole
    }
    assert not isinstance(read.decode(edited.data, 0), Rejection)


async def test_json_keeps_the_digits_the_duplicates_and_the_escapes_of_everything_else(desk: Desk) -> None:
    value = (
        b'{"a": 1.2345678901234567890123456, "n": 1, "n": 2, "\\u00e4": "\\u00fc\\/", "lone": "\\ud800",\n'
        b' "big": 123456789012345678901234567890, "e": 1E5, "-0": -0.0}'
    )
    edited = await desk.edit(
        value, BodyEdit(set={"n": 3, '["ä"]': "x", "a": ExactFloat("9.8765432109876543210987654")})
    )
    assert edited.value == (
        b'{"a": 9.8765432109876543210987654, "n": 1, "n": 3, "\\u00e4": "x", "lone": "\\ud800",\n'
        b' "big": 123456789012345678901234567890, "e": 1E5, "-0": -0.0}'
    )
