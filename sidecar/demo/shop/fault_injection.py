"""What goes wrong in the shop on purpose, how often, and what a sidecar should make of it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from sidecar.demo.shop.event_data import data_of
from sidecar.demo.shop.messages import ShopMessage, WireRecord
from sidecar.demo.shop.orders import Order
from sidecar.demo.shop.saga import SERVICES
from sidecar.demo.shop.serializers import Serializers

UNREGISTERED = 7_654_321
"""A schema id that no registry here has given."""


class FaultContext(NamedTuple):
    """What a fault has to work with."""

    wire: WireRecord
    """The record as it should be."""
    message: ShopMessage
    order: Order
    formats: Serializers
    roll: random.Random


class ShopFault(NamedTuple):
    """One way of going wrong."""

    name: str
    strikes: str
    """The type of events that it happens to."""
    chance: float
    spoil: Callable[[FaultContext], WireRecord]
    """The record that is published instead; for `repeats`, also."""
    code: str | None
    """The rejection that is due; None where the record is sound in itself."""
    repeats: bool = False
    """The record is published as it should be first, then `spoil`'s: a duplicate."""
    unlinked: bool = False
    """Nothing is left that says which order it belongs to."""


def _amount_as_text(case: FaultContext) -> WireRecord:
    """A new developer sends money as text."""
    return _rewritten(case, lambda body: body["data"].update(amount=f"{body['data']['amount']:.2f} EUR"))


def _quantity_as_word(case: FaultContext) -> WireRecord:
    def spoil(body: dict[str, Any]) -> None:
        body["items"][-1]["qty"] = ("one", "two", "many")[case.roll.randrange(3)]

    return _rewritten(case, spoil)


def _without_total(case: FaultContext) -> WireRecord:
    return _rewritten(case, lambda body: body.pop("total"))


def _changed_total(case: FaultContext) -> WireRecord:
    return _rewritten(case, lambda body: body.update(total=round(body["total"] + 1, 2)))


def _version_to_come(case: FaultContext) -> WireRecord:
    """A producer that runs ahead of the registry."""
    return replace(case.wire, headers=(*case.wire.headers, ("event-version", b"9")))


def _schema_of_another(case: FaultContext) -> WireRecord:
    """A serialiser set up for the neighbour's subject."""
    schema = case.formats.schemas.of(f"{SERVICES['scanner'].stream}-value")
    data = data_of("ItemScanned", case.order, case.message.type, case.order.lines[0])
    return case.formats.avro(replace(case.message, data=data), schema, id_in_header=True)


def _truncated(case: FaultContext) -> WireRecord:
    value = case.wire.value or b""
    return replace(case.wire, value=value[: case.roll.randrange(8, len(value) - 1)])


def _trailing_bytes(case: FaultContext) -> WireRecord:
    return replace(case.wire, value=(case.wire.value or b"") + case.roll.randbytes(7))


def _unregistered_schema(case: FaultContext) -> WireRecord:
    return replace(case.wire, value=b"\x00" + UNREGISTERED.to_bytes(4, "big") + (case.wire.value or b"")[5:])


def _noise(case: FaultContext) -> WireRecord:
    """A device that has lost its mind: bytes that begin like nothing known, and no headers."""
    return WireRecord(case.wire.key, b"\xff\xfe" + case.roll.randbytes(case.roll.randrange(14, 60)), ())


def _same_again(case: FaultContext) -> WireRecord:
    return case.wire


FAULTS = (
    ShopFault("amount as text", "PaymentAuthorized", 0.02, _amount_as_text, "schema.mismatch"),
    ShopFault("quantity as a word", "ParcelDispatched", 0.05, _quantity_as_word, "schema.mismatch"),
    ShopFault("total left out", "InvoiceIssued", 0.03, _without_total, "schema.mismatch"),
    ShopFault("schema of another stream", "StockReserved", 0.02, _schema_of_another, "schema.wrong_subject"),
    ShopFault("version to come", "CustomerNotified", 0.02, _version_to_come, "schema.unknown_version"),
    ShopFault("truncated", "ItemScanned", 0.04, _truncated, "decode.truncated"),
    ShopFault("bytes too many", "ItemScanned", 0.02, _trailing_bytes, "decode.trailing_bytes"),
    ShopFault("unregistered schema", "ItemScanned", 0.02, _unregistered_schema, "schema.unknown_id"),
    ShopFault("noise", "ItemScanned", 0.03, _noise, "decode.malformed", unlinked=True),
    ShopFault("sent twice", "InvoiceIssued", 0.12, _same_again, None, repeats=True),
    ShopFault("sent twice, changed", "InvoiceIssued", 0.03, _changed_total, None, repeats=True),
)


def chosen(event_type: str, roll: random.Random) -> ShopFault | None:
    """What goes wrong with an event of this type; mostly nothing."""
    at = roll.random()
    for fault in FAULTS:
        if fault.strikes == event_type:
            if at < fault.chance:
                return fault
            at -= fault.chance
    return None


def _rewritten(case: FaultContext, change: Callable[[dict[str, Any]], object]) -> WireRecord:
    """The record with its JSON body changed."""
    body = json.loads(case.wire.value or b"")
    change(body)
    return replace(case.wire, value=json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode())
