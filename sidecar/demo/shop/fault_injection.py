"""Deliberate mistakes of the shop: their frequency, and the rejection that a sidecar must report."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from sidecar.demo.shop.event_data import create_data
from sidecar.demo.shop.messages import ShopMessage, WireRecord
from sidecar.demo.shop.orders import Order
from sidecar.demo.shop.saga import SERVICES
from sidecar.demo.shop.serializers import Serializers

UNREGISTERED_SCHEMA_ID = 7_654_321
"""A schema id that the registry does not have."""


class FaultContext(NamedTuple):
    """Input of a fault."""

    wire: WireRecord
    """The correct record."""
    message: ShopMessage
    order: Order
    formats: Serializers
    roll: random.Random


class ShopFault(NamedTuple):
    """A kind of mistake."""

    name: str
    event_type: str
    """Event type into which this fault is injected."""
    chance: float
    create_record: Callable[[FaultContext], WireRecord]
    """Function that creates the faulty record. It replaces the correct record, or follows it if `repeats`."""
    code: str | None
    """Code of the expected rejection; None if the record itself is valid."""
    repeats: bool = False
    """True for a duplicate: the correct record is published first, then that of `create_record`."""
    unlinked: bool = False
    """True if the record does not name its order."""


def _write_amount_as_text(case: FaultContext) -> WireRecord:
    """Write an amount of money as text."""
    return _rewrite_body(case, lambda body: body["data"].update(amount=f"{body['data']['amount']:.2f} EUR"))


def _write_quantity_as_word(case: FaultContext) -> WireRecord:
    def spoil(body: dict[str, Any]) -> None:
        body["items"][-1]["qty"] = ("one", "two", "many")[case.roll.randrange(3)]

    return _rewrite_body(case, spoil)


def _remove_total(case: FaultContext) -> WireRecord:
    return _rewrite_body(case, lambda body: body.pop("total"))


def _change_total(case: FaultContext) -> WireRecord:
    return _rewrite_body(case, lambda body: body.update(total=round(body["total"] + 1, 2)))


def _name_future_version(case: FaultContext) -> WireRecord:
    """Name a schema version that is not registered yet."""
    return replace(case.wire, headers=(*case.wire.headers, ("event-version", b"9")))


def _use_schema_of_another_stream(case: FaultContext) -> WireRecord:
    """Write with the schema of another stream, as a misconfigured serializer does."""
    schema = case.formats.schemas.of(f"{SERVICES['scanner'].stream}-value")
    data = create_data("ItemScanned", case.order, case.message.type, case.order.lines[0])
    return case.formats.avro(replace(case.message, data=data), schema, id_in_header=True)


def _truncate(case: FaultContext) -> WireRecord:
    value = case.wire.value or b""
    return replace(case.wire, value=value[: case.roll.randrange(8, len(value) - 1)])


def _append_bytes(case: FaultContext) -> WireRecord:
    return replace(case.wire, value=(case.wire.value or b"") + case.roll.randbytes(7))


def _use_unregistered_schema(case: FaultContext) -> WireRecord:
    return replace(case.wire, value=b"\x00" + UNREGISTERED_SCHEMA_ID.to_bytes(4, "big") + (case.wire.value or b"")[5:])


def _create_noise(case: FaultContext) -> WireRecord:
    """Create random bytes without headers, as a broken device does."""
    return WireRecord(case.wire.key, b"\xff\xfe" + case.roll.randbytes(case.roll.randrange(14, 60)), ())


def _repeat(case: FaultContext) -> WireRecord:
    return case.wire


FAULTS = (
    ShopFault("amount as text", "PaymentAuthorized", 0.02, _write_amount_as_text, "schema.mismatch"),
    ShopFault("quantity as a word", "ParcelDispatched", 0.05, _write_quantity_as_word, "schema.mismatch"),
    ShopFault("total left out", "InvoiceIssued", 0.03, _remove_total, "schema.mismatch"),
    ShopFault("schema of another stream", "StockReserved", 0.02, _use_schema_of_another_stream, "schema.wrong_subject"),
    ShopFault("version to come", "CustomerNotified", 0.02, _name_future_version, "schema.unknown_version"),
    ShopFault("truncated", "ItemScanned", 0.04, _truncate, "decode.truncated"),
    ShopFault("bytes too many", "ItemScanned", 0.02, _append_bytes, "decode.trailing_bytes"),
    ShopFault("unregistered schema", "ItemScanned", 0.02, _use_unregistered_schema, "schema.unknown_id"),
    ShopFault("noise", "ItemScanned", 0.03, _create_noise, "decode.malformed", unlinked=True),
    ShopFault("sent twice", "InvoiceIssued", 0.12, _repeat, None, repeats=True),
    ShopFault("sent twice, changed", "InvoiceIssued", 0.03, _change_total, None, repeats=True),
)


def choose_fault(event_type: str, roll: random.Random) -> ShopFault | None:
    """Choose a fault for an event, mostly none."""
    at = roll.random()
    for fault in FAULTS:
        if fault.event_type == event_type:
            if at < fault.chance:
                return fault
            at -= fault.chance
    return None


def _rewrite_body(case: FaultContext, change: Callable[[dict[str, Any]], object]) -> WireRecord:
    """Return the record with a changed JSON body."""
    body = json.loads(case.wire.value or b"")
    change(body)
    return replace(case.wire, value=json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode())
