"""An edit changes the given paths only, is checked before it is sent, and is encoded as the record was."""

from __future__ import annotations

import json
from decimal import Decimal
from io import BytesIO
from random import Random
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_writer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.adapters.registry.memory import MemoryRegistry
from sidecar.api.services.payloads import PayloadCache, PayloadReader
from sidecar.config.schema import EnvelopeConfig
from sidecar.dead_letters.ledger_entries import PathChange
from sidecar.decoding.decoder import EventDecoder
from sidecar.decoding.formats.avro import schema_parser
from sidecar.decoding.formats.avro.avro_format import parse_registered
from sidecar.decoding.formats.avro.fingerprint import fingerprint
from sidecar.decoding.formats.avro.json_encoder import conform
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.domain.json_path import PathFault
from sidecar.domain.model import Headers, Record, Rejection
from sidecar.domain.position import Position
from sidecar.domain.redaction import HIDDEN, Redactor
from sidecar.replay.edit.editor import AvroEditResult, RecordEditor
from sidecar.replay.edit.paths import parse_edit_path
from sidecar.replay.models import BodyEdit, UnsendableLetter
from tests.support.avro_payloads import encoded, schema
from tests.support.avro_strategies import plain, schemas
from tests.support.schema_formats import FORMATS
from tests.unit.decoding.avro.test_decoding_fuzz import NoEnd, value_of

ITEM = {"type": "record", "name": "Item", "fields": [{"name": "sku", "type": "string"}, {"name": "qty", "type": "int"}]}
ORDER: dict[str, Any] = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "eventId", "type": "string"},
        {"name": "qty", "type": "int"},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "placed", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "note", "type": ["null", "string"], "default": None},
        {"name": "items", "type": {"type": "array", "items": ITEM}, "default": []},
        {"name": "raw", "type": "bytes", "default": ""},
    ],
}
VALUE = {
    "eventId": "e-1",
    "qty": 1,
    "price": Decimal("9.99"),
    "placed": 1_700_000_000_000,
    "note": None,
    "items": [{"sku": "a", "qty": 1}],
    "raw": b"\xff\x00",
}


class Desk:
    def __init__(self, redact: tuple[str, ...] = ()) -> None:
        self.registry = MemoryRegistry()
        self.catalog = SchemaCache(self.registry, FORMATS)
        judge = EventDecoder(self.catalog, EnvelopeConfig())
        self.payloads = PayloadReader({}, judge, PayloadCache())
        self.editor = RecordEditor(self.payloads, self.catalog, Redactor(redact))

    def record(self, value: bytes | None, headers: Headers = (("h", b"1"),), system: str = "kafka") -> Record:
        return Record(Position(system, "orders", 0, 7), None, value, headers, 1)

    async def edit(
        self, value: bytes | None, edit: BodyEdit, headers: Headers = (("h", b"1"),), system: str = "kafka"
    ) -> AvroEditResult:
        return await self.editor(self.record(value, headers, system), edit, "orders")

    async def body(self, edited: AvroEditResult, system: str = "kafka") -> Any:
        record = Record(Position(system, "orders", 0, 8), None, edited.value, edited.headers, 1)
        return (await self.payloads.open([record]))[0].body


def framed(id: int, declared: Any = ORDER, value: Any = VALUE) -> bytes:
    return b"\x00" + id.to_bytes(4, "big") + encoded(declared, value)


@pytest.fixture
async def desk() -> Any:
    made = Desk()
    yield made
    await made.catalog.close()


async def test_one_value_is_set_and_everything_else_stays(desk: Desk) -> None:
    id = desk.registry.register("orders-value", json.dumps(ORDER)).id or 0
    edited = await desk.edit(framed(id), BodyEdit(set={"items[0].qty": 3, "note": "mended", "price": "10.50"}))
    assert edited.value == framed(
        id, value={**VALUE, "items": [{"sku": "a", "qty": 3}], "note": "mended", "price": Decimal("10.50")}
    )
    assert edited.headers == (("h", b"1"),)
    assert edited.changes == (
        PathChange("price", "9.99", "10.50"),
        PathChange("note", None, "mended"),
        PathChange("items[0].qty", 1, 3),
    )


async def test_an_edit_without_changes_is_sent_unchanged(desk: Desk) -> None:
    id = desk.registry.register("orders-value", json.dumps(ORDER)).id or 0
    edited = await desk.edit(framed(id), BodyEdit(set={"qty": 1}))
    assert (edited.value, edited.changes) == (framed(id), ())


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (BodyEdit(set={"qty": "two"}), r'qty: expected int, found string "two" \(orders-value v1\)'),
        (BodyEdit(set={"qyt": 2}), "qyt: the schema has no such field; it has eventId, qty"),
        (BodyEdit(set={"items[4].qty": 2}), "the list has 1 items, so there is no 4"),
        (BodyEdit(set={"items..qty": 2}), "expected a path such as"),
        (BodyEdit(set={"price": "1.234"}), r"price: expected decimal\(9,2\)"),
        (BodyEdit(set={"placed": "yesterday"}), "placed: expected long"),
        (BodyEdit(remove=("eventId",)), "eventId: expected string, found nothing"),
        (BodyEdit(remove=("nothing",)), "nothing: the schema has no such field; it has eventId"),
        (BodyEdit(body={"eventId": "e-1"}), "qty: expected int, found nothing"),
    ],
)
async def test_a_body_that_does_not_match_is_reported_before_anything_is_sent(
    desk: Desk, edit: BodyEdit, said: str
) -> None:
    id = desk.registry.register("orders-value", json.dumps(ORDER)).id or 0
    with pytest.raises(UnsendableLetter, match=said):
        await desk.edit(framed(id), edit)


async def test_a_record_with_an_unknown_schema_id_gets_the_schema_of_its_stream(desk: Desk) -> None:
    id = desk.registry.register("orders-value", json.dumps(ORDER)).id or 0
    with pytest.raises(UnsendableLetter, match="could not be decoded"):
        await desk.edit(framed(99), BodyEdit(set={"qty": 2}))
    body = {"eventId": "e-1", "qty": 2, "price": "1.00", "placed": "2026-01-31T12:00:00Z"}
    edited = await desk.edit(framed(99), BodyEdit(body=body))
    assert edited.value is not None
    assert edited.value[:5] == b"\x00" + id.to_bytes(4, "big")
    assert (await desk.body(edited))["qty"] == 2


async def test_garbage_can_be_replaced_by_a_whole_body(desk: Desk) -> None:
    id = desk.registry.register("orders-value", json.dumps(ORDER)).id or 0
    body = {"eventId": "e-1", "qty": 2, "price": 1, "placed": 0, "raw": {"base64": "/wA="}}
    edited = await desk.edit(b"\xde\xad\xbe\xef", BodyEdit(body=body))
    assert edited.value == framed(
        id, value={**VALUE, "qty": 2, "price": Decimal("1.00"), "placed": 0, "items": [], "raw": b"\xff\x00"}
    )


@pytest.mark.parametrize("kind", ["guid", "header id", "global id", "fingerprint", "bare"])
async def test_every_framing_stays(desk: Desk, kind: str) -> None:
    ref = desk.registry.register("orders-value", json.dumps(ORDER))
    registered = await desk.registry.by_id(ref.id or 0)
    assert registered is not None
    bare, id = encoded(ORDER, VALUE), ref.id or 0
    headers: Headers = ()
    start = b""
    match kind:
        case "guid":
            headers = (("__value_schema_id", b"\x01" + bytes.fromhex((ref.guid or "").replace("-", ""))),)
        case "header id":
            headers = (("__value_schema_id", b"\x00" + id.to_bytes(4, "big")), ("h", None))
        case "global id":
            start = b"\x00" + id.to_bytes(8, "big")
        case "fingerprint":
            start = b"\xc3\x01" + fingerprint(parse_registered(registered)).to_bytes(8, "little")
    edited = await desk.edit(start + bare, BodyEdit(set={"qty": 2}), headers)
    assert edited.value == start + encoded(ORDER, {**VALUE, "qty": 2})
    assert edited.headers == headers


async def test_json_stays_json_and_is_checked_too(desk: Desk) -> None:
    desk.registry.register("orders-value", '{"type":"record","name":"O","fields":[{"name":"qty","type":"int"}]}')
    value = b' {"z": 1.50, "qty": "two", "a": [1, {"b": null}]}'
    edited = await desk.edit(value, BodyEdit(set={"qty": 2}))
    assert edited.value == b' {"z": 1.50, "qty": 2, "a": [1, {"b": null}]}'
    assert edited.changes == (PathChange("qty", "two", 2),)
    with pytest.raises(UnsendableLetter, match=r"would be rejected: schema.mismatch: qty: expected int"):
        await desk.edit(value, BodyEdit(set={"qty": 2.5}))


async def test_a_flat_entry_of_redis_stays_flat(desk: Desk) -> None:
    headers: Headers = (("qty", b"two"), ("sku", b"\xff"), ("qty", b"two"))
    edited = await desk.edit(None, BodyEdit(set={"qty": 3, "new": "x"}), headers, "redis")
    assert edited.value is None
    assert edited.headers == (("qty", b"two"), ("sku", b"\xff"), ("qty", b"3"), ("new", b"x"))


async def test_a_tombstone_has_nothing_to_edit(desk: Desk) -> None:
    with pytest.raises(UnsendableLetter, match="tombstone"):
        await desk.edit(None, BodyEdit(set={"qty": 1}))


async def test_redacted_values_are_hidden_in_changes_and_errors() -> None:
    desk = Desk(("body:note", "body:items.sku"))
    id = desk.registry.register("orders-value", json.dumps(ORDER)).id or 0
    edited = await desk.edit(framed(id), BodyEdit(set={"note": "secret", "items[0].sku": "secret", "qty": 2}))
    assert edited.changes == (
        PathChange("qty", 1, 2),
        PathChange("note", HIDDEN, HIDDEN),
        PathChange("items[0].sku", HIDDEN, HIDDEN),
    )
    with pytest.raises(UnsendableLetter) as raised:
        await desk.edit(framed(id), BodyEdit(set={"note": {"x": "secret"}}))
    assert "secret" not in str(raised.value)
    await desk.catalog.close()


def test_paths_are_those_of_rejections() -> None:
    assert parse_edit_path('data.items[2]["two words"].qty') == ("data", "items", 2, "two words", "qty")
    for wrong in ("", ".a", "a.", "a[", "a[x]", "a[1", 'a["x]', "x" * 2_000):
        with pytest.raises(UnsendableLetter):
            parse_edit_path(wrong)


def forbidden(declared: Any) -> bool:
    """Return True if the schema has a union with two branches of one kind, which the specification forbids."""
    if isinstance(declared, list):
        kinds = [one if isinstance(one, str) else one.get("name", one["type"]) for one in declared]
        return len(set(kinds)) < len(kinds) or any(map(forbidden, declared))
    if not isinstance(declared, dict):
        return False
    inner = [one["type"] for one in declared.get("fields", ())]
    return any(map(forbidden, (*inner, declared.get("items"), declared.get("values"), declared["type"])))


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(schemas().map(plain), st.randoms(use_true_random=False))
def test_a_value_is_written_by_the_schema_that_read_it(declared: Any, random: Random) -> None:
    read = schema(declared)
    try:
        value = read.decode(encoded(declared, value_of(schema_parser.parse(json.dumps(declared)), random)), 0)
    except (NoEnd, ValueError):
        return  # it has no value, or fastavro's writer finds no branch for it
    assert not isinstance(value, Rejection)
    out = BytesIO()
    if forbidden(declared):
        return
    made = conform(value, schema_parser.parse(json.dumps(declared)))
    schemaless_writer(out, parse_schema(json.loads(json.dumps(declared))), made)
    assert repr(read.decode(out.getvalue(), 0)) == repr(value)


async def test_json_that_nothing_checks_keeps_how_it_is_written(desk: Desk) -> None:
    deep = b"[" * 400 + b"]" * 400
    value = b'{"a": 1.50, "big": 1180591620717411303424, "deep": ' + deep + b', "b": 1}'
    edited = await desk.edit(value, BodyEdit(set={"b": True}, remove=("a",)))
    assert edited.value == b'{"big": 1180591620717411303424, "deep": ' + deep + b', "b": true}'
    assert edited.changes == (PathChange("a", 1.5, None, "removed"), PathChange("b", 1, True))


@pytest.mark.slow
async def test_nothing_is_nested_so_deeply_that_it_stops_the_replay(desk: Desk) -> None:
    deep: Any = []
    for _ in range(100_000):  # the depth limit differs between Python versions
        deep = [deep]
    with pytest.raises(UnsendableLetter, match="nested too deeply"):
        await desk.edit(b'{"a": 1}', BodyEdit(set={"a": deep}))


async def test_bare_avro_is_written_by_the_version_that_it_was_read_by(desk: Desk) -> None:
    one = {"type": "record", "name": "O", "fields": [{"name": "qty", "type": "int"}]}
    two = {**one, "fields": [*one["fields"], {"name": "sku", "type": "string", "default": ""}]}
    desk.registry.register("orders-value", json.dumps(one))
    desk.registry.register("orders-value", json.dumps(two))
    editor = RecordEditor(
        PayloadReader({}, EventDecoder(desk.catalog, EnvelopeConfig(version=["header:v"])), PayloadCache()),
        desk.catalog,
        Redactor(()),
    )
    record = Record(Position("kafka", "orders", 0, 7), None, encoded(one, {"qty": 1}), (("v", b"1"),), 1)
    edited = await editor(record, BodyEdit(set={"qty": 2}), "orders")
    assert (edited.value, edited.headers) == (encoded(one, {"qty": 2}), record.headers)


async def test_a_record_with_another_streams_schema_gets_its_own(desk: Desk) -> None:
    other = desk.registry.register("payments-value", json.dumps({**ORDER, "name": "Payment"})).id or 0
    id = desk.registry.register("orders-value", json.dumps(ORDER)).id or 0
    edited = await desk.edit(framed(other), BodyEdit(set={"qty": 1}))
    assert edited.value == framed(id)
    stated = (("__value_schema_id", b"\x00" + other.to_bytes(4, "big")), ("h", b"1"))
    edited = await desk.edit(encoded(ORDER, VALUE), BodyEdit(set={"qty": 2}), stated)
    assert edited.value == encoded(ORDER, {**VALUE, "qty": 2})
    assert edited.headers == (("__value_schema_id", b"\x00" + id.to_bytes(4, "big")), ("h", b"1"))
    assert edited.changes == (
        PathChange("qty", 1, 2),
        PathChange("header:__value_schema_id", f"0x00{other:08x}", f"0x00{id:08x}"),
    )


async def test_json_whose_headers_name_an_unknown_schema_names_the_streams_own(desk: Desk) -> None:
    id = desk.registry.register(
        "orders-value", '{"type":"record","name":"O","fields":[{"name":"qty","type":"int"}]}'
    ).id
    headers = (
        ("apicurio.value.globalId", (99).to_bytes(8, "big")),
        ("apicurio.value.encoding", b"JSON"),
        ("h", b"1"),
    )
    edited = await desk.edit(b'{"qty": 1}', BodyEdit(set={"qty": 2}), headers)
    assert edited.value == b'{"qty": 2}'
    assert edited.headers == (headers[1], headers[2], ("apicurio.value.contentId", (id or 0).to_bytes(8, "big")))


async def test_an_unreadable_schema_header_is_removed(desk: Desk) -> None:
    id = desk.registry.register("orders-value", json.dumps(ORDER)).id or 0
    edited = await desk.edit(framed(id), BodyEdit(set={"qty": 2}), (("__value_schema_id", b"7"), ("h", b"1")))
    assert (edited.value, edited.headers) == (framed(id, value={**VALUE, "qty": 2}), (("h", b"1"),))


async def test_fields_of_a_flat_entry_that_are_not_meant_keep_their_bytes(desk: Desk) -> None:
    headers: Headers = (("\udcff", b"\xfe"), ("a", b"1"), ("b", b"x"), ("a", b"2"), ("", b""))
    edited = await desk.edit(None, BodyEdit(set={"b": "y"}), headers, "redis")
    assert edited.headers == (("\udcff", b"\xfe"), ("a", b"1"), ("b", b"y"), ("a", b"2"), ("", b""))
    assert (await desk.edit(None, BodyEdit(set={"b": "x"}), headers, "redis")).changes == ()
    assert (await desk.edit(None, BodyEdit(remove=("a",)), headers, "redis")).headers == (
        *headers[:1],
        headers[2],
        headers[4],
    )


@pytest.mark.parametrize(
    ("branches", "value"),
    [
        (["null", "bytes", "string"], "text"),
        (["null", "bytes", "string"], b"octets"),
        (["double", "int"], ("int", 3)),
        (["int", "double"], 3.0),
        (["long", "boolean"], True),
        ([{"type": "long", "logicalType": "timestamp-millis"}, "string"], "2026-01-31T12:00:00Z"),
        (
            [
                {
                    "type": "record",
                    "name": "A",
                    "fields": [{"name": "x", "type": "int"}, {"name": "y", "type": "int", "default": 0}],
                },
                {"type": "record", "name": "B", "fields": [{"name": "x", "type": "int"}]},
            ],
            ("B", {"x": 1}),
        ),
    ],
)
def test_a_value_of_a_union_keeps_the_branch_that_it_was_read_by(branches: list[Any], value: Any) -> None:
    declared = {"type": "record", "name": "U", "fields": [{"name": "u", "type": branches}]}
    data = encoded(declared, {"u": value})
    read = schema(declared).decode(data, 0)
    out = BytesIO()
    schemaless_writer(
        out, parse_schema(json.loads(json.dumps(declared))), conform(read, schema_parser.parse(json.dumps(declared)))
    )
    assert out.getvalue() == data


def test_branches_that_are_alike_are_not_tried_over_and_over() -> None:
    def node(name: str, type: str) -> Any:
        branches = ["null", "A", "B"] if name == "B" else ["null", "A", node("B", "string")]
        return {
            "type": "record",
            "name": name,
            "fields": [{"name": "next", "type": branches, "default": None}, {"name": "v", "type": type}],
        }

    value: Any = None
    for _ in range(45):
        value = {"next": value, "v": "x"}
    branches = ["null", node("A", "int"), "B"]
    root = schema_parser.parse(
        json.dumps({"type": "record", "name": "Root", "fields": [{"name": "r", "type": branches}]})
    )
    assert conform({"r": value}, root)["r"][0] == "B"
    while value["next"] is not None:
        value = value["next"]
    value["v"] = 1.5
    with pytest.raises(PathFault, match=r"found number 1\.5"):
        conform({"r": value}, root)


def test_a_union_that_avro_forbids_is_written_by_its_first_branches_alone() -> None:
    arrays = [{"type": "array", "items": "int"}, {"type": "array", "items": "string"}]
    union = schema_parser.parse(json.dumps(["null", *arrays]))
    assert conform([1], union) == ("array", [1])
    with pytest.raises(PathFault, match="several branches array"):
        conform(["x"], union)
