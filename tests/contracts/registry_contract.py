"""The contract of every registry (`ports.Registry`). An adapter's test provides a shelf: a registry to fill."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

import pytest

from sidecar.adapters.registry.fingerprints import fingerprint_of
from sidecar.decoding.formats.schema_format import schema_texts
from sidecar.domain.ports.registry import Registry
from tests.support.disturbed_calls import DisturbedCall, disturb_each_await
from tests.support.schema_formats import bind_schema


class Shelf(Protocol):
    """A registry that tests write to."""

    registry: Registry
    has_levels: bool
    """True if the registry has compatibility levels."""

    async def put(self, subject: str, text: str, references: Sequence[tuple[str, str, int]] = ()) -> int:
        """Register the next version, which refers to (name, subject, version) triples. Returns the version."""

    async def again(self) -> Registry:
        """Return a new registry with the same schemas."""


def record(name: str, *fields: Any) -> str:
    written = [{"name": field, "type": "string"} if isinstance(field, str) else field for field in fields]
    return json.dumps({"type": "record", "name": name, "namespace": "shop", "fields": written})


class RegistryContract:
    @pytest.fixture
    def subject(self) -> str:
        """A subject that no other test uses."""
        return f"orders_{uuid.uuid4().hex[:8]}"

    async def test_a_registered_version_is_found_by_number_and_as_the_latest(self, shelf: Shelf, subject: str) -> None:
        first, second = record("Order", "a"), record("Order", "a", {"name": "b", "type": "int", "default": 0})
        assert [await shelf.put(subject, first), await shelf.put(subject, second)] == [1, 2]
        found = await shelf.registry.by_version(subject, 1)
        latest = await shelf.registry.by_version(subject, None)
        assert found is not None
        assert latest is not None
        assert (found.ref.subject, found.ref.version, found.kind) == (subject, 1, "AVRO")
        assert json.loads(found.text) == json.loads(first)
        assert (latest.ref.subject, latest.ref.version) == (subject, 2)
        assert await shelf.registry.versions(subject) == [1, 2]

    async def test_an_id_finds_the_text_and_the_subjects_that_have_it(self, shelf: Shelf, subject: str) -> None:
        await shelf.put(subject, record("Order", subject))
        registered = await shelf.registry.by_version(subject, 1)
        assert registered is not None
        assert registered.ref.id is not None
        by_id = await shelf.registry.by_id(registered.ref.id)
        assert by_id is not None
        assert by_id.text == registered.text
        assert by_id.ref.id == registered.ref.id
        assert await shelf.registry.subjects_of(registered.ref.id) == {(subject, 1)}

    async def test_the_same_text_has_the_same_id_under_every_subject(self, shelf: Shelf, subject: str) -> None:
        text = record("Order", subject)
        await shelf.put(subject, text)
        await shelf.put(f"other-{subject}", text)
        one = await shelf.registry.by_version(subject, None)
        two = await shelf.registry.by_version(f"other-{subject}", None)
        assert one is not None
        assert two is not None
        assert one.ref.id is not None
        assert one.ref.id == two.ref.id
        assert await shelf.registry.subjects_of(one.ref.id) == {(subject, 1), (f"other-{subject}", 1)}

    async def test_references_are_returned_with_the_schema_dependencies_first(self, shelf: Shelf, subject: str) -> None:
        city = record(f"City_{subject}", "name")
        address = record(f"Address_{subject}", {"name": "city", "type": f"shop.City_{subject}"})
        order = record(
            f"Order_{subject}",
            {"name": "to", "type": f"shop.Address_{subject}"},
            {"name": "via", "type": f"shop.City_{subject}"},
        )
        await shelf.put(f"city-{subject}", city)
        to_city = (f"shop.City_{subject}", f"city-{subject}", 1)
        await shelf.put(f"address-{subject}", address, [to_city])
        await shelf.put(subject, order, [(f"shop.Address_{subject}", f"address-{subject}", 1), to_city])
        for registry in (shelf.registry, await shelf.again()):
            found = await registry.by_version(subject, None)
            assert found is not None
            assert found.ref.id is not None
            by_id = await registry.by_id(found.ref.id)
            assert by_id is not None
            for each in (found, by_id):
                loaded = [json.loads(text)["name"].partition("_")[0] for text in schema_texts(each)]
                assert loaded == ["City", "Address", "Order"]
                schema = bind_schema(each)
                assert schema.unusable is None
                assert schema.decode(b"\x04ab\x02c", 0) == {"to": {"city": {"name": "ab"}}, "via": {"name": "c"}}

    async def test_a_fingerprint_finds_the_version_among_the_given_subjects(self, shelf: Shelf, subject: str) -> None:
        await shelf.put(subject, record("Order", subject))
        await shelf.put(subject, record("Order", subject, {"name": "more", "type": "int", "default": 1}))
        await shelf.put(f"other-{subject}", record("Other", subject))
        first = await shelf.registry.by_version(subject, 1)
        assert first is not None
        fingerprint = fingerprint_of(first)
        assert fingerprint is not None
        found = await shelf.registry.by_fingerprint(fingerprint, [f"other-{subject}", subject])
        assert found is not None
        assert (found.ref.subject, found.ref.version) == (subject, 1)
        assert await shelf.registry.by_fingerprint(fingerprint, [f"other-{subject}"]) is None
        assert await shelf.registry.by_fingerprint(fingerprint, ["nobody's"]) is None

    async def test_subjects_are_listed_sorted(self, shelf: Shelf, subject: str) -> None:
        await shelf.put(f"b-{subject}", record("B", subject))
        await shelf.put(f"a-{subject}", record("A", subject))
        subjects = await shelf.registry.subjects()
        assert subjects == sorted(subjects)
        assert {f"a-{subject}", f"b-{subject}"} <= set(subjects)

    async def test_an_absent_schema_is_an_answer(self, shelf: Shelf, subject: str) -> None:
        assert await shelf.registry.by_id(2_000_000_011) is None
        assert await shelf.registry.by_global_id(2_000_000_011) is None
        assert await shelf.registry.by_guid("00000000-0000-4000-8000-000000000000") is None
        assert await shelf.registry.by_guid("no guid at all/../") is None
        assert await shelf.registry.by_version(subject, None) is None
        assert await shelf.registry.by_version(subject, 1) is None
        assert await shelf.registry.versions(subject) == []
        assert await shelf.registry.subjects_of(2_000_000_011) == frozenset()
        await shelf.put(subject, record("Order", subject))
        assert await shelf.registry.by_version(subject, 9) is None

    async def test_a_subject_may_have_any_characters(self, shelf: Shelf, subject: str) -> None:
        odd = f"a b%2F?#é.{subject}"
        await shelf.put(odd, record("Order", subject))
        assert odd in await shelf.registry.subjects()
        found = await shelf.registry.by_version(odd, None)
        assert found is not None
        assert found.ref.subject == odd
        assert await shelf.registry.versions(odd) == [1]

    async def test_a_guid_finds_its_schema_where_there_are_guids(self, shelf: Shelf, subject: str) -> None:
        await shelf.put(subject, record("Order", subject))
        registered = await shelf.registry.by_version(subject, 1)
        assert registered is not None
        if registered.ref.guid is not None:
            found = await shelf.registry.by_guid(registered.ref.guid.upper())
            assert found is not None
            assert (found.text, found.ref.guid, found.ref.id) == (
                registered.text,
                registered.ref.guid,
                registered.ref.id,
            )

    async def test_compatibility_is_a_level_where_there_is_such_a_notion(self, shelf: Shelf, subject: str) -> None:
        await shelf.put(subject, record("Order", subject))
        level = await shelf.registry.compatibility(subject)
        assert (level is not None) == shelf.has_levels

    async def test_closing_twice_is_harmless(self, shelf: Shelf) -> None:
        registry = await shelf.again()
        await registry.close()
        await registry.close()

    async def test_no_await_of_a_question_changes_another_answer(self, shelf: Shelf, subject: str) -> None:
        city = record(f"City_{subject}", "name")
        await shelf.put(f"city-{subject}", city)
        order = record("Order", subject, {"name": "to", "type": f"shop.City_{subject}"})
        await shelf.put(subject, order, [(f"shop.City_{subject}", f"city-{subject}", 1)])
        registered = await shelf.registry.by_version(subject, 1)
        assert registered is not None
        assert registered.ref.id is not None
        id, fingerprint = registered.ref.id, fingerprint_of(registered)
        assert fingerprint is not None
        registry = await shelf.again()
        questions: list[Callable[[], Coroutine[Any, Any, Any]]] = [
            lambda: registry.by_id(id),
            lambda: registry.by_version(subject, None),
            lambda: registry.versions(subject),
            lambda: registry.subjects_of(id),
            lambda: registry.by_fingerprint(fingerprint, [subject]),
            registry.subjects,
        ]
        expected = [await question() for question in questions]

        async def check(_: DisturbedCall[Any]) -> None:
            assert await asyncio.gather(*(question() for question in questions)) == expected

        for index in range(len(questions)):
            registry = await shelf.again()
            await disturb_each_await(questions[index], check)
