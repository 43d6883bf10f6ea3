"""Reports, exports, imports and edits on real brokers and a real registry: exact bytes, durable, and once.

Also with several sidecars that do the same at the same time.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from io import BytesIO

import fastavro
import httpx2
import pytest
from msgspec.structs import replace

from sidecar.adapters.registry.confluent import ConfluentRegistry
from sidecar.adapters.registry.memory import MemoryRegistry
from sidecar.api.services.payloads import PayloadCache, PayloadReader
from sidecar.config import schema as config
from sidecar.config.schema import EnvelopeConfig
from sidecar.dead_letters.ledger_entries import Actor
from sidecar.dead_letters.store import ANY, DeadLetterStore
from sidecar.dead_letters.writer import DeadLetterWriter
from sidecar.decoding.decoder import EventDecoder
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.demo.embedded_kafka import EmbeddedKafka
from sidecar.demo.embedded_valkey import EmbeddedValkey
from sidecar.domain.errors import NotFoundError
from sidecar.domain.model import Headers, Outgoing, Record
from sidecar.domain.ports.broker import Broker
from sidecar.domain.ports.registry import Registry
from sidecar.domain.position import Position
from sidecar.domain.redaction import Redactor
from sidecar.domain.stream_names import StreamNames
from sidecar.pipeline.pipeline import now_micros
from sidecar.replay.edit.editor import RecordEditor
from sidecar.replay.export_import import LetterTransfer
from sidecar.replay.failure_reports import FailureReports
from sidecar.replay.models import BodyEdit, LetterOutcome, UnsendableLetter
from sidecar.replay.ports import ExportedLetter, FailedRecord, ReportedFailure
from sidecar.replay.validation import RecordValidator
from tests.contracts.broker_harness import BrokerHarness
from tests.contracts.test_broker_kafka import KafkaHarness
from tests.contracts.test_broker_redis import ValkeyHarness
from tests.servers.apicurio import Apicurio
from tests.support.schema_formats import FORMATS

ANN = Actor("ann", "127.0.0.1")
HEADERS: Headers = (("h", b"1"), ("bytes", b"\xff\x00"), ("h", b"2"), ("", b""))


@dataclass(frozen=True)
class Source:
    broker: Broker
    naming: StreamNames


class Sidecar:
    """The services of a sidecar that reports, exports, imports and edits."""

    def __init__(self, broker: Broker, naming: StreamNames, stream: str, registry: Registry) -> None:
        self.broker, self.catalog = broker, SchemaCache(registry, FORMATS)
        source = Source(broker, naming)
        self.payloads = PayloadReader(
            {broker.system: broker}, EventDecoder(self.catalog, EnvelopeConfig()), PayloadCache()
        )
        self.desk = DeadLetterStore([source])
        self.exporting = LetterTransfer([source], self.desk, self.payloads, Redactor(()), now_micros)
        writer = DeadLetterWriter(naming, "tracecar.shop", "shop", now_micros)

        async def in_sight(system: str, name: str) -> bool:
            return (system, name) == (broker.system, stream)

        self.reporting = FailureReports([source], self.payloads, in_sight, lambda _: writer, now_micros)
        self.editor = RecordEditor(self.payloads, self.catalog, Redactor(()))

    async def out(self) -> list[ExportedLetter]:
        return [one async for one in self.exporting.export(ANY)]

    async def import_letters(self, letters: Iterable[ExportedLetter]) -> list[LetterOutcome]:
        async def each() -> AsyncIterator[ExportedLetter]:
            for one in letters:
                yield one

        return [one async for one in self.exporting.import_letters(each(), ANN)]


class Shop:
    """A stream on a real broker, and sidecars that watch it."""

    def __init__(self, harness: BrokerHarness, registry: Registry) -> None:
        self.harness, self.registry = harness, registry
        self.stream = f"orders_{uuid.uuid4().hex[:12]}"
        self.letters = f"{self.stream}.dlt"
        self.sidecars: list[Sidecar] = []

    async def sidecar(self) -> Sidecar:
        group = f"tracecar.{self.stream}"
        broker = self.harness.broker(self.stream, group=group)
        await broker.start()
        made = Sidecar(broker, self.harness.naming(group), self.stream, self.registry)
        self.sidecars.append(made)
        return made


@pytest.fixture(
    params=[pytest.param("kafka", marks=pytest.mark.kafka), pytest.param("valkey", marks=pytest.mark.valkey)]
)
async def shop(request: pytest.FixtureRequest) -> AsyncIterator[Shop]:
    server: EmbeddedKafka | EmbeddedValkey = request.getfixturevalue(request.param)
    harness: BrokerHarness = (
        KafkaHarness(server.bootstrap_servers) if isinstance(server, EmbeddedKafka) else ValkeyHarness(server.url)
    )
    made = Shop(harness, MemoryRegistry())
    await harness.create(made.stream, 2)
    yield made
    for one in made.sidecars:
        await one.catalog.close()
    await harness.close()  # type: ignore[attr-defined]


def failure(**more: object) -> ReportedFailure:
    given: dict[str, object] = {"group": "billing", "type": "KeyError", "message": "no such customer", **more}
    return ReportedFailure(**given)  # type: ignore[arg-type]


async def test_a_reported_record_is_one_letter_however_many_sidecars_hear_of_it(shop: Shop) -> None:
    key = b"k" if shop.harness.keyed else None
    headers = tuple(one for one in HEADERS if one[0] or shop.harness.keyed)
    (at,) = await shop.harness.produce([Outgoing(shop.stream, key, b"\x00\x01 no body", headers)])
    sidecars = [await shop.sidecar(), await shop.sidecar()]
    assert await sidecars[0].broker.partitions(shop.letters) == []
    found = await asyncio.gather(
        *[one.reporting.report(failure(position=at, stacktrace="at line 3"), ANN) for one in sidecars * 3]
    )
    assert sorted(one.created for one in found) == [False] * 5 + [True]
    (written,) = await shop.harness.contents(shop.letters)
    assert {one.position for one in found} == {None, written.position}
    assert (written.key, written.value, tuple(written.headers)[: len(headers)]) == (key, b"\x00\x01 no body", headers)
    shown = await sidecars[1].desk.show(f"billing@{at}")
    assert shown is not None
    assert (shown.letter.origin, shown.letter.stacktrace, shown.letter.code) == (at, "at line 3", "reported.error")


async def test_a_record_without_position_is_one_letter(shop: Shop) -> None:
    sidecar = await shop.sidecar()
    record = FailedRecord(stream=shop.stream, value=b"x", headers=(("h", b"1"),))
    found = [await sidecar.reporting.report(failure(record=record), ANN) for _ in range(2)]
    assert [one.created for one in found] == [True, False]
    (written,) = await shop.harness.contents(shop.letters)
    assert written.value == b"x"


async def test_positions_without_a_record_are_unknown(shop: Shop) -> None:
    sidecar = await shop.sidecar()
    system = sidecar.broker.system
    for partition, offset in [
        (0, 7),
        (99, 0),
        (1 << 31, 0),
        (1 << 70, 0),
        (0, (1 << 63) - 1),
        (0, 1 << 63),
        (0, 1 << 200),
    ]:
        with pytest.raises(NotFoundError, match="has no record there"):
            await sidecar.reporting.report(failure(position=Position(system, shop.stream, partition, offset)), ANN)
    with pytest.raises(NotFoundError, match="no watched stream"):
        await sidecar.reporting.report(failure(position=Position(system, shop.letters, 0, 0)), ANN)


async def test_lost_letters_are_imported_once_with_their_bytes(shop: Shop) -> None:
    headers = tuple(one for one in HEADERS if one[0] or shop.harness.keyed)
    key = b"k" if shop.harness.keyed else None
    await shop.harness.produce([Outgoing(shop.stream, key, b"%d" % n, headers, partition=n % 2) for n in range(6)])
    sidecars = [await shop.sidecar(), await shop.sidecar()]
    for partition in await sidecars[0].broker.partitions(shop.stream):
        async for records in sidecars[0].broker.scan(partition):
            for record in records:
                await sidecars[0].reporting.report(failure(position=record.position), ANN)
    out = await sidecars[0].out()
    assert len(out) == 6
    there = await sidecars[0].import_letters(out)
    assert [(one.done, one.why) for one in there] == [(True, "it is still there")] * 6
    for log in await sidecars[0].broker.partitions(shop.letters):
        _, end = await sidecars[0].broker.bounds(log)
        await shop.harness.trim(log, end)
    assert await sidecars[0].out() == []
    found = await asyncio.gather(*[one.import_letters(out) for one in sidecars])
    assert all(one.done for some in found for one in some), found
    after = await sidecars[1].out()

    def bytes_of(letters: list[ExportedLetter]) -> list[tuple[object, ...]]:
        return sorted((one.partition, one.key or b"", one.value, one.headers, one.value_at, one.id) for one in letters)

    assert bytes_of(after) == bytes_of(out)
    if shop.harness.partitioned:
        assert sorted(one.timestamp for one in after) == sorted(one.timestamp for one in out)
    hostile = [replace(out[0], position=Position(out[0].position.system, shop.letters, 1 << 40, 1 << 90))]
    assert [one.done for one in await sidecars[0].import_letters(hostile)] == [True], "it was imported before"


MONEY = {"type": "record", "name": "Money", "namespace": "shop", "fields": [{"name": "cents", "type": "long"}]}
ORDER = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [
        {"name": "eventId", "type": "string"},
        {"name": "price", "type": "shop.Money"},
        {"name": "placed", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "note", "type": ["null", "string"], "default": None},
    ],
}
EVENT = {"eventId": "e-1", "price": {"cents": 1}, "placed": 1_700_000_000_000, "note": None}


def avro(value: object) -> bytes:
    named: dict[str, object] = {}
    fastavro.parse_schema(MONEY, named_schemas=named)  # type: ignore[arg-type]
    out = BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(json.dumps(ORDER)), named_schemas=named), value)  # type: ignore[arg-type]
    return out.getvalue()


@pytest.mark.registry
async def test_an_edit_is_written_by_the_registrys_own_schema_and_passes_the_check(
    shop: Shop, apicurio: Apicurio
) -> None:
    money = f"money_{shop.stream}"
    with httpx2.Client(base_url=apicurio.url, timeout=30) as client:

        def register(subject: str, schema: object, **more: object) -> int:
            answer = client.post(f"/subjects/{subject}/versions", json={"schema": json.dumps(schema), **more})
            assert answer.status_code == 200, answer.text
            id: int = answer.json()["id"]
            return id

        register(money, MONEY)
        references = [{"name": "shop.Money", "subject": money, "version": 1}]
        id = register(f"{shop.stream}-value", ORDER, references=references)
    shop.registry = ConfluentRegistry(config.RegistryConfig(url=apicurio.url))
    sidecar = await shop.sidecar()
    edit = BodyEdit(set={"price.cents": 250, "placed": "2026-01-31T12:00:00Z", "note": {"string": "mended"}})
    expected = avro({**EVENT, "price": {"cents": 250}, "placed": 1_769_860_800_000, "note": "mended"})
    confluent, stated = b"\x00" + id.to_bytes(4, "big"), (("apicurio.value.contentId", id.to_bytes(8, "big")),)
    check = RecordValidator(sidecar.payloads, sidecar.broker.system)
    for start, headers in ((confluent, ()), (b"", stated)):
        (at,) = await shop.harness.produce([Outgoing(shop.stream, None, start + avro(EVENT), headers)])
        record = await sidecar.broker.read(at)
        assert record is not None
        edited = await sidecar.editor(record, edit, shop.stream)
        assert (edited.value, edited.headers) == (start + expected, headers)
        assert [one.path for one in edited.changes] == ["price.cents", "placed", "note"]
        outgoing = Outgoing(shop.stream, None, edited.value, edited.headers)
        assert await check([outgoing]) == [None]
        (position,) = await sidecar.broker.publish([outgoing])
        again = await sidecar.broker.read(position)
        assert again is not None
        assert again.value == start + expected
    unknown = Record(at, None, b"\x00\x7f\xff\xff\xff" + avro(EVENT), (), 1)
    with pytest.raises(UnsendableLetter, match="could not be decoded"):
        await sidecar.editor(unknown, edit, shop.stream)
    body = {"eventId": "e-1", "price": {"cents": 250}, "placed": 1_769_860_800_000, "note": "mended"}
    edited = await sidecar.editor(unknown, BodyEdit(body=body), shop.stream)
    assert edited.value == confluent + expected
    assert [one.code if one else None for one in await check([Outgoing(shop.stream, None, unknown.value, ())])] == [
        "schema.unknown_id"
    ]
    await shop.registry.close()
