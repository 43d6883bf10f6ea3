"""A real Apicurio Registry: references, ids, GUIDs, global ids, and outages."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar

import httpx2
import pytest

from sidecar.adapters.registry import http_client
from sidecar.adapters.registry.confluent import ConfluentRegistry
from sidecar.config import schema as config
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.decoding.schema_lookup import SchemaNotCached
from sidecar.domain.errors import Outage
from tests.servers.apicurio import Apicurio
from tests.support.schema_formats import FORMATS

pytestmark = pytest.mark.registry

T = TypeVar("T")


def record(name: str, *fields: Any) -> str:
    return json.dumps({"type": "record", "name": name, "fields": list(fields)})


class Producer:
    """A producer that registers schemas through a client library."""

    def __init__(self, url: str) -> None:
        self._client = httpx2.Client(base_url=url, timeout=30)

    def register(self, subject: str, text: str, **more: Any) -> int:
        answer = self._client.post(f"/subjects/{subject}/versions", json={"schema": text, **more})
        assert answer.status_code == 200, answer.text
        id: int = answer.json()["id"]
        return id

    def version(self, url: str) -> dict[str, Any]:
        """Return the only version that Apicurio's own search finds."""
        (version,) = self._client.get(url).json()["versions"]
        return dict(version)

    def set_level(self, subject: str, level: str) -> None:
        assert self._client.put(f"/config/{subject}", json={"compatibility": level}).status_code == 200

    def close(self) -> None:
        self._client.close()


@pytest.fixture
def producer(apicurio: Apicurio) -> Iterator[Producer]:
    producer = Producer(apicurio.url)
    yield producer
    producer.close()


@pytest.fixture
async def catalog(apicurio: Apicurio) -> AsyncIterator[SchemaCache]:
    catalog = SchemaCache(ConfluentRegistry(config.RegistryConfig(url=apicurio.url)), FORMATS)
    yield catalog
    await catalog.close()


@pytest.fixture
def stream() -> str:
    return f"orders_{uuid.uuid4().hex[:8]}"


async def found(catalog: SchemaCache, look: Callable[[], T]) -> T:
    while True:
        try:
            return look()
        except SchemaNotCached as needs:
            await catalog.fetch(needs.key)


async def test_an_event_is_read_with_a_schema_and_what_it_refers_to(
    producer: Producer, catalog: SchemaCache, stream: str
) -> None:
    item, order = f"shop.Item_{stream}", f"shop.Order_{stream}"
    producer.register(f"item-{stream}", record(item, {"name": "qty", "type": "int"}))
    text = record(order, {"name": "items", "type": {"type": "array", "items": item}})
    references = [{"name": item, "subject": f"item-{stream}", "version": 1}]
    id = producer.register(f"{stream}-value", text, references=references)
    resolved = await found(catalog, lambda: catalog.by_id(stream, id))
    assert resolved.rejection is None
    assert resolved.schema is not None
    assert (resolved.schema.ref.subject, resolved.schema.ref.version) == (f"{stream}-value", 1)
    framed = b"\x00" + id.to_bytes(4, "big") + b"\x04\x02\x04\x00"
    assert resolved.schema.decode(framed, 5) == {"items": [{"qty": 1}, {"qty": 2}]}
    by_subject = await found(catalog, lambda: catalog.for_stream(stream, None, None))
    assert by_subject is not None
    assert by_subject.schema is not None
    rejection = by_subject.schema.check({"items": [{"qty": 1}, {"qty": "two"}]})
    assert rejection is not None
    assert rejection.message == f'items[1].qty: expected int, found string "two" ({stream}-value v1)'


async def test_the_same_text_under_two_subjects_belongs_to_both_streams_and_to_no_other(
    producer: Producer, catalog: SchemaCache, stream: str
) -> None:
    text = record(f"shop.Order_{stream}", {"name": "a", "type": "int"})
    id = producer.register(f"{stream}-value", text)
    assert producer.register(f"{stream}.copy-value", text) == id
    for name in (stream, f"{stream}.copy"):
        resolved = await found(catalog, lambda name=name: catalog.by_id(name, id))
        assert resolved.rejection is None
        assert resolved.schema is not None
        assert resolved.schema.ref.subject == f"{name}-value"
    wrong = await found(catalog, lambda: catalog.by_id("elsewhere", id))
    assert wrong.rejection is not None
    assert wrong.rejection.code == "schema.wrong_subject"
    assert wrong.schema is not None


async def test_a_global_id_leads_to_the_version_that_has_it(
    apicurio: Apicurio, producer: Producer, catalog: SchemaCache, stream: str
) -> None:
    text = record(f"shop.Order_{stream}", {"name": "a", "type": "int"})
    producer.register(f"other-{stream}-value", text)
    id = producer.register(f"{stream}-value", text)
    version = producer.version(f"{apicurio.native_url}/apis/registry/v3/search/versions?artifactId={stream}-value")
    assert version["globalId"] != id
    resolved = await found(catalog, lambda: catalog.by_global_id(stream, version["globalId"]))
    assert resolved.rejection is None
    assert resolved.schema is not None
    assert (resolved.schema.ref.subject, resolved.schema.ref.version, resolved.schema.ref.id) == (
        f"{stream}-value",
        1,
        id,
    )
    by_content = await found(catalog, lambda: catalog.by_content_id(stream, version["contentId"]))
    assert by_content.schema is not None
    assert by_content.schema.ref.id == id
    unknown = await found(catalog, lambda: catalog.by_global_id(stream, 2**62))
    assert unknown.rejection is not None
    assert unknown.rejection.code == "schema.unknown_id"


async def test_a_guid_that_the_registry_cannot_know_is_unknown(catalog: SchemaCache) -> None:
    guid = str(uuid.uuid4())
    resolved = await found(catalog, lambda: catalog.by_guid("orders", guid))
    assert resolved.rejection is not None
    assert resolved.rejection.code == "schema.unknown_id"


async def test_other_kinds_are_there_and_not_checked(producer: Producer, catalog: SchemaCache, stream: str) -> None:
    text = json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"})
    id = producer.register(f"{stream}-value", text, schemaType="JSON")
    resolved = await found(catalog, lambda: catalog.by_id(stream, id))
    assert resolved.rejection is None
    assert resolved.schema is not None
    assert (resolved.schema.kind, resolved.schema.unusable is None) == ("JSON", False)


async def test_a_new_version_and_the_level_are_seen(producer: Producer, catalog: SchemaCache, stream: str) -> None:
    name = f"shop.Order_{stream}"
    producer.register(f"{stream}-value", record(name, {"name": "a", "type": "int"}))
    first = await found(catalog, lambda: catalog.for_stream(stream, None, None))
    assert first is not None
    producer.register(f"{stream}-value", record(name, {"name": "a", "type": "int"}, {"name": "b", "type": "int"}))
    producer.set_level(f"{stream}-value", "FULL")
    await catalog.refresh()
    second = await found(catalog, lambda: catalog.for_stream(stream, None, None))
    assert second is not None
    assert second.schema is not None
    assert second.schema.ref.version == 2
    assert await catalog.compatibility(f"{stream}-value") == "FULL"
    assert await catalog.versions(f"{stream}-value") == [1, 2]


async def test_a_url_without_the_apis_path_is_an_outage_not_a_lost_schema(apicurio: Apicurio, stream: str) -> None:
    registry = ConfluentRegistry(config.RegistryConfig(url=apicurio.native_url))
    with pytest.raises(Outage, match=r"/apis/ccompat/v7"):
        await registry.by_id(1)
    with pytest.raises(Outage):
        await registry.by_guid(str(uuid.uuid4()))
    await registry.close()


async def test_a_server_that_dies_is_an_outage_until_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "ANSWER_TIMEOUT_S", 1.0)
    with Apicurio() as server:
        producer = Producer(server.url)
        text = record("shop.Order", {"name": "a", "type": "int"})
        id = producer.register("orders-value", text)
        other = producer.register("orders-value", record("shop.Order", {"name": "b", "type": "int"}))
        catalog = SchemaCache(ConfluentRegistry(config.RegistryConfig(url=server.url)), FORMATS)
        known = await found(catalog, lambda: catalog.by_id("orders", id))
        assert catalog.reachable

        server.pause()
        with pytest.raises(Outage, match="did not answer"):
            await catalog.fetch(("id", other, "orders"))
        server.resume()

        server.kill()
        assert catalog.by_id("orders", id) is known
        with pytest.raises(SchemaNotCached) as needs:
            catalog.by_id("orders", other)
        waiting = [asyncio.create_task(catalog.fetch(needs.value.key)) for _ in range(3)]
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [Outage] * 3
        assert catalog.reachable is False
        assert server.url in (catalog.problem or "")

        server.start()
        back = await found(catalog, lambda: catalog.by_id("orders", other))
        assert back.schema is not None
        assert back.schema.ref.version == 2
        assert catalog.reachable
        await catalog.close()
        producer.close()
