"""Validation before a replay: letters that would pass, and letters that cannot be validated, which do not count as
passing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from sidecar.adapters.registry.memory import MemoryRegistry
from sidecar.api.services.payloads import PayloadCache, PayloadReader
from sidecar.config.schema import EnvelopeConfig
from sidecar.decoding.decoder import EventDecoder
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.domain.errors import Outage
from sidecar.domain.model import Decoded, Outgoing, Record
from sidecar.domain.position import Position
from sidecar.domain.redaction import Redactor
from sidecar.replay import validation
from sidecar.replay.edit.editor import RecordEditor
from sidecar.replay.models import BodyEdit
from sidecar.replay.validation import RecordValidator, describe_registry_trouble
from tests.support.schema_formats import FORMATS

SCHEMA = '{"type":"record","name":"O","fields":[{"name":"qty","type":"int"}]}'


def sent(value: bytes, stream: str = "orders") -> Outgoing:
    return Outgoing(stream, None, value, (), timestamp=1)


async def test_records_are_validated_for_their_target_stream() -> None:
    registry = MemoryRegistry()
    registry.register("orders-value", SCHEMA)
    catalog = SchemaCache(registry, FORMATS)
    check = RecordValidator(
        PayloadReader({}, EventDecoder(catalog, EnvelopeConfig()), PayloadCache()),
        "kafka",
        lambda: "no answer",
    )
    values = [b'{"qty": 1}', b'{"qty": "two"}', b"\x00\x00\x00\x00\x63"] * 100
    said = await check([sent(value) for value in values])
    assert [one and one.code for one in said] == [None, "schema.mismatch", "schema.unknown_id"] * 100
    free = RecordValidator(PayloadReader({}, EventDecoder(catalog, EnvelopeConfig()), PayloadCache()), "kafka")
    assert await free([sent(b'{"qty": "two"}', "free")]) == [None]
    await catalog.close()


async def test_records_do_not_pass_during_a_registry_outage() -> None:
    class Gone(MemoryRegistry):
        async def subjects(self) -> list[str]:
            raise Outage("the connection was refused")

    catalog = SchemaCache(Gone(), FORMATS)
    payloads = PayloadReader({}, EventDecoder(catalog, EnvelopeConfig()), PayloadCache())
    check = RecordValidator(payloads, "kafka", lambda: describe_registry_trouble(catalog))
    (said,) = await check([sent(b'{"qty": 1}')])
    assert said is not None
    assert (said.code, said.message) == ("unchecked", "it could not be checked: the connection was refused")
    edited = RecordEditor(payloads, catalog, Redactor(()))
    with pytest.raises(Outage, match="cannot be checked now, so it is not sent: the connection was refused"):
        await edited(
            Record(Position("kafka", "orders", 0, 0), None, b'{"qty": 1}', (), 1), BodyEdit(set={"qty": 2}), "orders"
        )
    await catalog.close()


async def test_a_slow_registry_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        async def open(self, records: Sequence[Record]) -> list[Decoded]:
            await asyncio.get_running_loop().create_future()
            raise AssertionError

    monkeypatch.setattr(validation, "VALIDATION_TIMEOUT_S", 0.01)
    said = await RecordValidator(Slow(), "kafka")([sent(b"{}")] * 120)
    assert {one and one.code for one in said} == {"unchecked"}
    assert len(said) == 120
