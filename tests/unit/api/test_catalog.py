"""The catalog over the whole API and in each of its formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.api import models
from sidecar.cli.output.asyncapi import compare_with_asyncapi, name_entries, to_asyncapi, unique_identifiers
from sidecar.cli.output.catalog_files import to_eventcatalog, to_markdown
from tests.support.api import READER, Sidecar, order, serving


async def _catalog(sidecar: Sidecar, query: str = "") -> models.CatalogPage:
    async with sidecar.client(READER) as client:
        return await client.catalog(query)


async def _page(tmp_path: Path, **options: Any) -> models.CatalogPage:
    async with serving(tmp_path / "token", **options) as sidecar:
        for number in range(3):
            headers = (("team", b"checkout"), ("producer", b"shop"))
            await sidecar.pass_on(order(number, data={"total": number}), headers=headers)
        await sidecar.pass_on(order(9, data={"total": [1]}))
        await sidecar.pass_on({"eventType": "Paid|`x`", "note": "```"}, "payments")
        return await _catalog(sidecar)


async def test_entries_tell_producers_schemas_owners_and_an_example(tmp_path: Path) -> None:
    orders, payments = (await _page(tmp_path)).items
    assert (orders.stream, orders.events, orders.rejected) == ("orders", 4, 1)
    assert orders.producers == ["shop"]
    assert orders.owner == "checkout"
    assert [use.ref.subject for use in orders.schemas] == ["orders-value"]
    assert orders.schema_kind == "AVRO"
    assert orders.example["data"] == {"total": 2}
    assert orders.size_bytes is not None
    assert orders.size_bytes > 10
    assert (payments.type, payments.schema_text) == ("Paid|`x`", None)


async def test_examples_are_redacted(tmp_path: Path) -> None:
    orders, _ = (await _page(tmp_path, redact=["body:data.total"])).items
    assert orders.example["data"] == {"total": "[redacted]"}


async def test_asyncapi_refers_only_to_what_it_defines(tmp_path: Path) -> None:
    document = to_asyncapi(await _page(tmp_path), "1.0.0")
    assert document["asyncapi"] == "3.0.0"
    references = _values(document, "$ref")
    assert references
    for reference in references:
        place: Any = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]
        assert place
    (order_name,) = document["channels"]["orders"]["messages"]
    assert document["components"]["messages"][order_name]["payload"]["schemaFormat"].startswith(
        "application/vnd.apache.avro"
    )
    assert document["operations"]["shop-send-orders"]["action"] == "send"


def _values(document: Any, key: str) -> list[Any]:
    if isinstance(document, list):
        return [value for item in document for value in _values(item, key)]
    if not isinstance(document, dict):
        return []
    own = [document[key]] if key in document else []
    return own + [value for item in document.values() for value in _values(item, key)]


def test_different_names_have_different_identifiers() -> None:
    assert unique_identifiers(["a/b", "a b", "a-b", "a/b"]) == {"a/b": "a-b", "a b": "a-b_", "a-b": "a-b__"}


async def test_declared_and_real_events_are_compared(tmp_path: Path) -> None:
    page = await _page(tmp_path)
    document = to_asyncapi(page, "1.0.0")
    assert compare_with_asyncapi(document, page) == []
    document["channels"]["refunds"] = {"address": "refunds", "messages": {}}
    del document["channels"]["payments"]
    document["channels"]["orders"]["messages"]["Paid"] = {"name": "Paid|`x`"}
    kinds = {
        (difference.kind, difference.stream, difference.type) for difference in compare_with_asyncapi(document, page)
    }
    assert kinds == {
        ("not seen", "refunds", None),
        ("not declared", "payments", None),
        ("other stream", "orders", "Paid|`x`"),
    }


async def test_a_document_of_version_2_is_understood(tmp_path: Path) -> None:
    page = await _page(tmp_path)
    type = page.items[0].type
    document = {
        "asyncapi": "2.6.0",
        "channels": {
            "orders": {"publish": {"message": {"oneOf": [{"$ref": "#/components/messages/A"}, {"name": "Lost"}]}}},
            "payments": {"subscribe": {"message": {"name": "Paid|`x`"}}},
        },
        "components": {"messages": {"A": {"name": type}}},
    }
    (difference,) = compare_with_asyncapi(document, page)
    assert (difference.kind, difference.type) == ("not seen", "Lost")
    with pytest.raises(ValueError, match="version 2 or 3"):
        compare_with_asyncapi({"openapi": "3.1.0"}, page)


async def test_markdown_and_eventcatalog_escape_what_events_say(tmp_path: Path) -> None:
    page = await _page(tmp_path)
    text = to_markdown(page)
    assert "Paid\\|\\`x\\`" in text
    assert text.count("```") == 4, "an example cannot close its own fence"
    files = to_eventcatalog(page)
    for path, content in files.items():
        if path.endswith(".mdx"):
            front = yaml.safe_load(content.split("---\n")[1])
            assert front["id"]
            assert front["name"]
    event = name_entries(page.items)[0]
    assert json.loads(files[f"events/{event}/schema.avsc"])["name"] == "Order"
    service = yaml.safe_load(files["services/shop/index.mdx"].split("---\n")[1])
    assert service["sends"] == [{"id": event, "version": "1.0.0"}]
    assert "teams/checkout.mdx" in files


async def test_owners_of_the_configuration_come_first(tmp_path: Path) -> None:
    async with serving(tmp_path / "token", owners={"pay*": "treasury"}) as sidecar:
        await sidecar.pass_on({"eventType": "Paid"}, "payments", (("team", b"checkout"),))
        (entry,) = (await _catalog(sidecar)).items
    assert entry.owner == "treasury"
