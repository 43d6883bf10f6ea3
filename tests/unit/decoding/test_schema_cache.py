"""The schema cache: it answers from memory, and asks the registry off the hot path, once for all that wait."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import pytest

from sidecar.adapters.registry.fingerprints import fingerprint_of
from sidecar.adapters.registry.memory import MemoryRegistry
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.decoding.schema_lookup import RECHECK_S, SchemaLookup, SchemaNotCached
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.model import SchemaRef
from tests.support.schema_formats import FORMATS

T = TypeVar("T")


def record(name: str, *fields: str) -> str:
    return json.dumps({"type": "record", "name": name, "fields": [{"name": each, "type": "int"} for each in fields]})


ORDER = record("shop.Order", "a")


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def catalog(registry: MemoryRegistry, clock: Clock) -> AsyncIterator[SchemaCache]:
    catalog = SchemaCache(registry, FORMATS, clock=clock)
    yield catalog
    await catalog.close()


async def found(catalog: SchemaCache, look: Callable[[], T]) -> T:
    """Look a schema up, fetching what is needed."""
    while True:
        try:
            return look()
        except SchemaNotCached as needs:
            await catalog.fetch(needs.key)


def code(resolved: SchemaLookup | None) -> str | None:
    assert resolved is not None
    return resolved.rejection.code if resolved.rejection else None


async def test_an_id_is_fetched_once_and_then_answered_for_good(
    catalog: SchemaCache, registry: MemoryRegistry, clock: Clock
) -> None:
    registry.register("orders-value", ORDER)
    ref = registry.register("orders-value", record("shop.Order", "a", "b"))
    assert ref.id is not None
    with pytest.raises(SchemaNotCached):
        catalog.by_id("orders", ref.id)
    resolved = await found(catalog, lambda: catalog.by_id("orders", ref.id or 0))
    assert resolved.rejection is None
    assert resolved.schema is not None
    assert resolved.schema.ref == ref
    asked = registry.asked
    clock.now += 1e9
    assert catalog.by_id("orders", ref.id) is resolved
    assert catalog.by_content_id("orders", ref.id) is resolved
    assert registry.asked == asked


@pytest.mark.parametrize("subject", ["orders-value", "shop.Order", "orders-shop.Order", ":.team:orders-value"])
async def test_every_subject_strategy_is_the_streams_own(
    catalog: SchemaCache, registry: MemoryRegistry, subject: str
) -> None:
    ref = registry.register(subject, ORDER)
    registry.register("elsewhere-value", ORDER)
    resolved = await found(catalog, lambda: catalog.by_id("orders", ref.id or 0))
    assert resolved.rejection is None
    assert resolved.schema is not None
    assert resolved.schema.ref.subject == subject


async def test_an_id_of_another_subject_is_a_rejection_and_still_a_schema(
    catalog: SchemaCache, registry: MemoryRegistry, clock: Clock
) -> None:
    ref = registry.register("payments-value", ORDER)
    resolved = await found(catalog, lambda: catalog.by_id("orders", ref.id or 0))
    assert code(resolved) == "schema.wrong_subject"
    assert resolved.rejection is not None
    assert resolved.rejection.message == (
        "schema id 1 belongs to payments-value; expected a schema of orders-value, orders-shop.Order or shop.Order"
    )
    assert resolved.schema is not None
    assert resolved.schema.decode(b"\x02", 0) == {"a": 1}
    registry.register("orders-value", ORDER)
    assert code(catalog.by_id("orders", ref.id or 0)) == "schema.wrong_subject"
    clock.now += 2 * RECHECK_S
    assert code(await found(catalog, lambda: catalog.by_id("orders", ref.id or 0))) is None


async def test_an_id_whose_subjects_are_all_gone_is_not_wrong(catalog: SchemaCache, registry: MemoryRegistry) -> None:
    ref = registry.register("orders-value", ORDER)
    registry.remove("orders-value")
    resolved = await found(catalog, lambda: catalog.by_id("orders", ref.id or 0))
    assert code(resolved) is None
    assert resolved.schema is not None
    assert resolved.schema.ref == SchemaRef(None, None, ref.id, ref.guid)


async def test_an_unknown_id_is_remembered_briefly(
    catalog: SchemaCache, registry: MemoryRegistry, clock: Clock
) -> None:
    assert code(await found(catalog, lambda: catalog.by_id("orders", 1))) == "schema.unknown_id"
    asked = registry.asked
    registry.register("orders-value", ORDER)
    assert code(catalog.by_id("orders", 1)) == "schema.unknown_id"
    assert registry.asked == asked
    clock.now += 2 * RECHECK_S
    assert code(await found(catalog, lambda: catalog.by_id("orders", 1))) is None


async def test_ids_that_no_registry_gives_are_not_asked_for(catalog: SchemaCache, registry: MemoryRegistry) -> None:
    assert code(await found(catalog, lambda: catalog.by_id("orders", 1 << 31))) == "schema.unknown_id"
    assert code(await found(catalog, lambda: catalog.by_global_id("orders", 1 << 63))) == "schema.unknown_id"
    assert registry.asked == 0


async def test_guids_fingerprints_and_global_ids(catalog: SchemaCache, registry: MemoryRegistry) -> None:
    registry.register("payments-value", record("shop.Payment", "x"))
    ref = registry.register("orders-value", ORDER)
    registered = await registry.by_version("orders-value", 1)
    assert registered is not None
    fingerprint = fingerprint_of(registered)
    assert fingerprint is not None
    by_guid = await found(catalog, lambda: catalog.by_guid("orders", ref.guid or ""))
    by_fingerprint = await found(catalog, lambda: catalog.by_fingerprint("orders", fingerprint))
    for resolved in (by_guid, by_fingerprint):
        assert code(resolved) is None
        assert resolved.schema is not None
        assert resolved.schema.ref == ref
    assert code(await found(catalog, lambda: catalog.by_fingerprint("payments", fingerprint))) == "schema.wrong_subject"
    assert code(await found(catalog, lambda: catalog.by_guid("payments", ref.guid or ""))) == "schema.wrong_subject"
    assert code(await found(catalog, lambda: catalog.by_fingerprint("orders", 7))) == "schema.unknown_id"
    assert code(await found(catalog, lambda: catalog.by_guid("orders", "x\x1b"))) == "schema.unknown_id"
    assert code(await found(catalog, lambda: catalog.by_global_id("orders", 7))) == "schema.unknown_id"


async def test_the_most_exact_subject_checks_a_record_that_names_no_schema(
    catalog: SchemaCache, registry: MemoryRegistry
) -> None:
    async def subject(type: str | None) -> str | None:
        resolved = await found(catalog, lambda: catalog.for_stream("orders", type, None))
        return resolved.schema.ref.subject if resolved and resolved.schema else None

    registry.register("shop.Order", ORDER)
    assert await subject("shop.Order") == "shop.Order"
    assert await subject("shop.Cancelled") is None
    registry.register("orders-value", ORDER)
    await catalog.refresh()
    assert await subject("shop.Order") == "orders-value"
    registry.register("orders-shop.Order", ORDER)
    await catalog.refresh()
    assert await subject("shop.Order") == "orders-shop.Order"
    assert await subject("shop.Cancelled") == "orders-value"
    assert await subject(None) == "orders-value"


async def test_versions(catalog: SchemaCache, registry: MemoryRegistry) -> None:
    registry.register("orders-value", ORDER)
    registry.register("orders-value", record("shop.Order", "a", "b"))

    async def version(named: str | None) -> int | str | None:
        resolved = await found(catalog, lambda: catalog.for_stream("orders", None, named))
        assert resolved is not None
        return resolved.schema.ref.version if resolved.schema else code(resolved)

    assert await version(None) == 2
    assert await version("1") == 1
    assert await version("v1") == 1
    assert await version("9") == "schema.unknown_version"
    assert await version("1.0.2") == 2
    assert await version("9" * 500) == 2


async def test_an_unknown_event_type_asks_no_registry(catalog: SchemaCache, registry: MemoryRegistry) -> None:
    assert await found(catalog, lambda: catalog.for_stream("orders", "T0", None)) is None
    asked = registry.asked
    for number in range(100):
        assert catalog.for_stream("orders", f"T{number}", str(number)) is None
    assert registry.asked == asked


async def test_requiring_a_schema_makes_its_absence_a_rejection(registry: MemoryRegistry) -> None:
    catalog = SchemaCache(registry, FORMATS, require=True)
    resolved = await found(catalog, lambda: catalog.for_stream("orders", "shop.Order", None))
    assert code(resolved) == "schema.unknown_subject"
    assert resolved is not None
    assert resolved.rejection is not None
    assert "orders-value" in resolved.rejection.message
    await catalog.close()


async def test_a_new_version_is_found_by_a_refresh_and_until_then_the_old_one_answers(
    catalog: SchemaCache, registry: MemoryRegistry
) -> None:
    registry.register("orders-value", ORDER)
    old = await found(catalog, lambda: catalog.for_stream("orders", None, None))
    await catalog.refresh()
    assert catalog.for_stream("orders", None, None) is old
    registry.register("orders-value", record("shop.Order", "a", "b"))
    assert catalog.for_stream("orders", None, None) is old
    registry.trouble = Outage("gone")
    await catalog.refresh()
    assert catalog.for_stream("orders", None, None) is old
    assert (catalog.reachable, catalog.problem) == (False, "gone")
    registry.trouble = None
    await catalog.refresh()
    new = catalog.for_stream("orders", None, None)
    assert new is not None
    assert new.schema is not None
    assert new.schema.ref.version == 2
    assert catalog.reachable


async def test_subjects_in_use_are_read_again_by_itself(registry: MemoryRegistry) -> None:
    catalog = SchemaCache(registry, FORMATS, refresh_seconds=0.01)
    assert await found(catalog, lambda: catalog.for_stream("orders", None, None)) is None
    registry.register("orders-value", ORDER)
    async with asyncio.timeout(30):
        while await found(catalog, lambda: catalog.for_stream("orders", None, None)) is None:
            await asyncio.sleep(0.005)
    await catalog.close()
    asked = registry.asked
    await asyncio.sleep(0.05)
    assert registry.asked == asked


async def test_one_question_serves_all_that_wait(catalog: SchemaCache, registry: MemoryRegistry) -> None:
    ref = registry.register("orders-value", ORDER)
    with pytest.raises(SchemaNotCached) as needs:
        catalog.by_id("orders", ref.id or 0)
    await asyncio.gather(*(catalog.fetch(needs.value.key) for _ in range(50)))
    assert registry.asked == 2  # one request for the schema, one for its subjects


async def test_one_that_stops_waiting_does_not_stop_the_others(registry: MemoryRegistry) -> None:
    class Slow(MemoryRegistry):
        def __init__(self) -> None:
            super().__init__()
            self.gate = asyncio.Event()

        async def subjects(self) -> list[str]:
            await self.gate.wait()
            return await super().subjects()

    slow = Slow()
    catalog = SchemaCache(slow, FORMATS)
    waiting = [asyncio.create_task(catalog.fetch(("subjects",))) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.gather(waiting[0], return_exceptions=True)
    slow.gate.set()
    await waiting[1]
    assert slow.asked == 1
    await catalog.close()


@pytest.mark.parametrize("trouble", [Outage("down", 3.0), Refused("no")])
async def test_trouble_comes_from_fetching_only_and_is_not_remembered(
    catalog: SchemaCache, registry: MemoryRegistry, trouble: Outage | Refused
) -> None:
    ref = registry.register("orders-value", ORDER)
    registry.trouble = trouble
    questions: list[Callable[[], SchemaLookup | None]] = [
        lambda: catalog.by_id("orders", ref.id or 0),
        lambda: catalog.for_stream("orders", None, None),
    ]
    for question in questions:
        with pytest.raises(SchemaNotCached) as needs:
            question()
        with pytest.raises(type(trouble)) as raised:
            await catalog.fetch(needs.value.key)
        assert raised.value is trouble
    assert catalog.reachable is isinstance(trouble, Refused)
    registry.trouble = None
    for question in questions:
        assert code(await found(catalog, question)) is None


async def test_an_unusable_schema_has_its_reason(catalog: SchemaCache, registry: MemoryRegistry) -> None:
    broken = registry.register("orders-value", '{"type": "record"')
    other = registry.register("pay-value", '{"type": "object"}', kind="JSON")
    first = await found(catalog, lambda: catalog.by_id("orders", broken.id or 0))
    second = await found(catalog, lambda: catalog.by_id("pay", other.id or 0))
    assert code(first) is code(second) is None
    assert first.schema is not None
    assert second.schema is not None
    assert (first.schema.kind, second.schema.kind) == ("AVRO", "JSON")
    assert "not JSON" in (first.schema.unusable or "")
    assert second.schema.unusable == "its kind is JSON, not AVRO"


async def test_a_kind_without_known_names_may_belong_to_any_subject_but_another_topics(
    catalog: SchemaCache, registry: MemoryRegistry
) -> None:
    of_record = registry.register("shop.v1.Order", 'syntax = "proto3";', kind="PROTOBUF")
    of_topic = registry.register("payments-value", 'syntax = "proto2";', kind="PROTOBUF")
    assert code(await found(catalog, lambda: catalog.by_id("orders", of_record.id or 0))) is None
    assert code(await found(catalog, lambda: catalog.by_id("orders", of_topic.id or 0))) == "schema.wrong_subject"


async def test_memory_is_bounded(registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.decoding.schema_cache._MAX_CACHED_ANSWERS", 10)
    catalog = SchemaCache(registry, FORMATS)
    for number in range(200):
        await found(catalog, lambda n=number: catalog.by_id("orders", n))
        await found(catalog, lambda n=number: catalog.for_stream(f"s{n}", f"T{n}", None))
    assert len(catalog._known.snapshot()) <= 10
    assert len(catalog._subject_cache._for_stream.snapshot()) <= 10
    await catalog.close()


async def test_without_a_registry_nothing_is_checked() -> None:
    catalog = SchemaCache(None, FORMATS, require=True)
    resolved = catalog.by_id("orders", 7)
    assert resolved.schema is not None
    assert resolved.schema.unusable is not None
    assert catalog.for_stream("orders", None, None) is None
    assert (await catalog.subjects(), catalog.reachable) == ([], None)
    await catalog.refresh()
    await catalog.close()


async def test_schemas_shown_to_users(catalog: SchemaCache, registry: MemoryRegistry) -> None:
    ref = registry.register("orders-value", ORDER)
    registry.levels["orders-value"] = "FULL"
    await found(catalog, lambda: catalog.by_id("orders", ref.id or 0))
    await found(catalog, lambda: catalog.for_stream("orders", None, None))
    assert await catalog.subjects() == ["orders-value"]
    assert await catalog.versions("orders-value") == [1]
    assert await catalog.compatibility("orders-value") == "FULL"
    assert await catalog.compatibility("other") == "BACKWARD"
    latest = await catalog.read_registered("orders-value")
    assert latest is not None
    assert latest.text == ORDER
    assert {(stream, schema.ref.version) for stream, schema in catalog.list_seen()} == {("orders", 1)}
    assert catalog.schemas == 1
