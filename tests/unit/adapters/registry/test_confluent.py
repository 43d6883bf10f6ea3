"""The Confluent API on a scripted server, with answers that the real registry of the tests (Apicurio) never gives."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from sidecar.adapters.registry.confluent import MAX_REFERENCE_DEPTH, ConfluentRegistry
from sidecar.config import schema as config
from sidecar.decoding.formats.schema_format import schema_texts
from sidecar.domain.errors import Outage
from tests.support.schema_formats import bind_schema
from tests.support.scripted_registry import Answer, Scripted

GUID = "5f0a2c5c-7a3c-4c5e-9d0b-3b1f5a8e7c11"


@pytest.fixture
async def registry(server: Scripted) -> AsyncIterator[ConfluentRegistry]:
    registry = ConfluentRegistry(config.RegistryConfig(url=server.url))
    yield registry
    await registry.close()


def version(server: Scripted, subject: str, number: int, text: str, *references: tuple[str, str, int]) -> None:
    body = {"subject": subject, "version": number, "id": 100 + number, "guid": GUID, "schema": text}
    body["references"] = [{"name": name, "subject": of, "version": at} for name, of, at in references]
    server.answers[f"/subjects/{subject}/versions/{number}"] = Answer(200, body)
    server.answers[f"/subjects/{subject}/versions/latest"] = Answer(200, body)


async def test_a_guid_leads_to_schema_and_id(server: Scripted, registry: ConfluentRegistry) -> None:
    server.answers[f"/schemas/guids/{GUID}"] = Answer(200, {"schema": '"int"', "schemaType": "AVRO"})
    server.answers[f"/schemas/guids/{GUID}/ids"] = Answer(200, [{"context": ".", "id": 7}])
    found = await registry.by_guid(GUID.upper())
    assert found is not None
    assert (found.text, found.ref.id, found.ref.guid) == ('"int"', 7, GUID)


async def test_a_guid_without_its_ids_is_found_all_the_same(server: Scripted, registry: ConfluentRegistry) -> None:
    server.answers[f"/schemas/guids/{GUID}"] = Answer(200, {"schema": '"int"'})
    found = await registry.by_guid(GUID)
    assert found is not None
    assert (found.kind, found.ref.id) == ("AVRO", None)


async def test_a_registry_without_guids_knows_none_and_one_that_is_none_is_an_outage(
    server: Scripted, registry: ConfluentRegistry
) -> None:
    server.answers[f"/schemas/guids/{GUID}"] = Answer(404)
    server.answers["/subjects"] = Answer(200, [])
    assert await registry.by_guid(GUID) is None
    server.answers["/subjects"] = Answer(404, b"<html>")
    with pytest.raises(Outage, match=r"registry\.url"):
        await registry.by_guid(GUID)


async def test_a_wrong_path_is_an_outage_and_no_unknown_id(server: Scripted, registry: ConfluentRegistry) -> None:
    server.answers["/schemas/ids/7"] = Answer(404, b"not found")
    with pytest.raises(Outage, match="not as a schema registry does"):
        await registry.by_id(7)


async def test_other_kinds_of_schemas_have_their_name(server: Scripted, registry: ConfluentRegistry) -> None:
    server.answers["/schemas/ids/7"] = Answer(200, {"schema": "syntax", "schemaType": "PROTOBUF", "maxId": 9})
    found = await registry.by_id(7)
    assert found is not None
    assert found.kind == "PROTOBUF"


async def test_deleted_subjects_count_for_what_was_written_before(
    server: Scripted, registry: ConfluentRegistry
) -> None:
    server.answers["/schemas/ids/7/versions?deleted=true"] = Answer(200, [{"subject": "a-value", "version": 3}])
    assert await registry.subjects_of(7) == {("a-value", 3)}


async def test_a_subject_without_a_level_has_the_registrys(server: Scripted, registry: ConfluentRegistry) -> None:
    server.answers["/config"] = Answer(200, {"compatibilityLevel": "BACKWARD"})
    assert await registry.compatibility("orders-value") == "BACKWARD"
    server.answers["/config/orders-value"] = Answer(200, {"compatibilityLevel": "FULL"})
    assert await registry.compatibility("orders-value") == "FULL"


async def test_references_in_a_circle_end(server: Scripted, registry: ConfluentRegistry) -> None:
    version(server, "a", 1, '{"type": "record", "name": "A", "fields": []}', ("B", "b", 1))
    version(server, "b", 1, '{"type": "record", "name": "B", "fields": []}', ("A", "a", 1))
    found = await registry.by_version("a", 1)
    assert found is not None
    assert [json.loads(text)["name"] for text in schema_texts(found)] == ["B", "A"]
    other = await registry.by_version("b", None)
    assert other is not None
    assert [json.loads(text)["name"] for text in schema_texts(other)] == ["A", "B"]


async def test_a_chain_of_references_is_followed_so_far(server: Scripted, registry: ConfluentRegistry) -> None:
    for number in range(100):
        text = json.dumps({"type": "record", "name": f"R{number}", "fields": [{"name": "x", "type": f"R{number + 1}"}]})
        version(server, f"r{number}", 1, text, (f"R{number + 1}", f"r{number + 1}", 1))
    found = await registry.by_version("r0", 1)
    assert found is not None
    assert len(schema_texts(found)) == MAX_REFERENCE_DEPTH + 1
    assert "found the name" in (bind_schema(found).unusable or "")
    assert len(server.asked) <= MAX_REFERENCE_DEPTH + 1


async def test_many_references_to_one_version_ask_once(server: Scripted, registry: ConfluentRegistry) -> None:
    version(server, "leaf", 1, '{"type": "record", "name": "L", "fields": []}')
    for number in range(5):
        below = [("x", f"n{number - 1}", 1)] * 5 if number else [("L", "leaf", 1)] * 5
        version(server, f"n{number}", 1, f'{{"type": "record", "name": "N{number}", "fields": []}}', *below)
    found = await registry.by_version("n4", 1)
    assert found is not None
    assert len(schema_texts(found)) == 6
    assert len(server.asked) == 6


async def test_a_reference_that_is_gone_makes_the_schema_unusable(
    server: Scripted, registry: ConfluentRegistry
) -> None:
    text = '{"type": "record", "name": "R", "fields": [{"name": "x", "type": "Gone"}]}'
    version(server, "r", 1, text, ("Gone", "gone", 1))
    found = await registry.by_version("r", 1)
    assert found is not None
    assert "'Gone'" in (bind_schema(found).unusable or "")


async def test_unknown_fingerprints_do_not_make_us_read_everything_again(
    server: Scripted, registry: ConfluentRegistry
) -> None:
    server.answers["/subjects/a/versions"] = Answer(200, [1])
    version(server, "a", 1, '"int"')
    assert await registry.by_fingerprint(0x7275D51A3F395C8F, ["a"]) is not None
    asked = len(server.asked)
    for fingerprint in range(50):
        assert await registry.by_fingerprint(fingerprint, ["a"]) is None
    assert len(server.asked) == asked


async def test_a_registry_that_is_not_apicurio_has_no_global_ids(server: Scripted, registry: ConfluentRegistry) -> None:
    assert await registry.by_global_id(7) is None
    assert server.asked == []
