"""Denials of the schema cache: an event is rejected by what is registered now."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import pytest

from sidecar.adapters.registry.memory import MemoryRegistry
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.decoding.schema_lookup import RECHECK_S, SchemaLookup, SchemaNotCached
from sidecar.domain.errors import Outage
from sidecar.domain.ports.registry import RegisteredSchema
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


async def test_a_denial_of_one_stream_does_not_deny_another(
    catalog: SchemaCache, registry: MemoryRegistry, clock: Clock
) -> None:
    ref = registry.register("a-value", ORDER)
    assert code(await found(catalog, lambda: catalog.by_id("a", ref.id or 0))) is None
    assert registry.register("b-value", ORDER).id == ref.id
    assert code(await found(catalog, lambda: catalog.by_id("b", ref.id or 0))) is None


async def test_a_denial_is_asked_for_again_before_it_rejects(
    catalog: SchemaCache, registry: MemoryRegistry, clock: Clock
) -> None:
    ref = registry.register("payments-value", ORDER)
    look = {
        "schema.wrong_subject": lambda: catalog.by_id("orders", ref.id or 0),
        "schema.unknown_id": lambda: catalog.by_id("orders", 99),
    }
    for expected, ask in look.items():
        assert code(await found(catalog, ask)) == expected
        clock.now += 2 * RECHECK_S
        with pytest.raises(SchemaNotCached):
            ask()
        registry.trouble = Outage("gone")
        with pytest.raises(Outage):
            await found(catalog, ask)
        registry.trouble = None
        assert code(await found(catalog, ask)) == expected


async def test_a_slow_registry_is_not_asked_for_ever(registry: MemoryRegistry, clock: Clock) -> None:
    class Slow(MemoryRegistry):
        async def by_id(self, id: int) -> RegisteredSchema | None:
            clock.now += 5
            return await super().by_id(id)

        async def by_global_id(self, id: int) -> RegisteredSchema | None:
            clock.now += 5
            return await super().by_global_id(id)

    catalog = SchemaCache(Slow(), FORMATS, clock=clock)

    def look() -> str | None:
        return code(catalog.by_global_id("orders", 7)) and code(catalog.by_content_id("orders", 7))

    assert await catalog.look_up(look) == "schema.unknown_id"
    await catalog.close()


async def test_a_subject_that_is_required_is_looked_for_again_before_it_rejects(
    registry: MemoryRegistry, clock: Clock
) -> None:
    catalog = SchemaCache(registry, FORMATS, require=True, clock=clock)
    assert code(await found(catalog, lambda: catalog.for_stream("orders", None, None))) == "schema.unknown_subject"
    registry.register("orders-value", ORDER)
    clock.now += 2 * RECHECK_S
    assert code(await found(catalog, lambda: catalog.for_stream("orders", None, None))) is None
    assert code(await found(catalog, lambda: catalog.for_stream("orders", None, "2"))) == "schema.unknown_version"
    registry.register("orders-value", record("shop.Order", "a", "b"))
    clock.now += 2 * RECHECK_S
    assert code(await found(catalog, lambda: catalog.for_stream("orders", None, "2"))) is None
    await catalog.close()


@pytest.mark.parametrize(
    ("subject", "named"),
    [
        ("orders-value", True),
        ("orders-shop.Order", True),
        (":.team:orders-value", True),
        ("orders-key", False),
        ("orders-eu-value", False),
        ("orders-eu-shop.Order", False),
        ("shop.Order", False),
        ("payments-value", False),
    ],
)
async def test_which_subjects_are_named_after_a_stream(
    catalog: SchemaCache, registry: MemoryRegistry, subject: str, named: bool
) -> None:
    registry.register(subject, ORDER)
    assert await found(catalog, lambda: catalog.has_subject("orders")) is named
