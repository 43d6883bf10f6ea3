"""The reference of the HTTP API, written from its OpenAPI document."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2

from tests.support.api import OPERATOR, serving

_HEAD = """\
# HTTP API

Written from the OpenAPI document that a sidecar serves at `/schema`. Errors are `application/problem+json`. The token
is `Authorization: Bearer …`; what is stable is in [compatibility](compatibility.md#http).
"""


def http_reference() -> str:
    """Write a section for each path and a table for each type of an answer."""
    document = asyncio.run(_fetch_document())
    lines = [_HEAD]
    for path, operations in sorted(document["paths"].items()):
        for method, operation in operations.items():
            lines += _operation(f"{method.upper()} {path}", operation)
    lines.append("## Types\n")
    for name, schema in sorted(document.get("components", {}).get("schemas", {}).items()):
        if "properties" in schema:
            lines += _type(name, schema)
    return "\n".join(lines)


async def _fetch_document() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        async with serving(Path(folder) / "token") as sidecar, httpx2.AsyncClient(base_url=sidecar.url) as client:
            answer = await client.get("/schema", headers={"Authorization": f"Bearer {OPERATOR}"})
            document: dict[str, Any] = answer.raise_for_status().json()
            return document


def _operation(title: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"## `{title}`\n"
    yield "\n\n".join(text for text in (operation.get("summary"), operation.get("description")) if text) + "\n"
    parameters = operation.get("parameters", [])
    if parameters:
        yield "| parameter | in | type | meaning |\n|---|---|---|---|"
        for parameter in parameters:
            kind = _kind(parameter.get("schema", {}))
            meaning = _cell(parameter.get("description", ""))
            yield f"| `{parameter['name']}` | {parameter['in']} | {kind} | {meaning} |"
        yield ""
    body = operation.get("requestBody", {}).get("content", {})
    for media, content in body.items():
        yield f"Body: `{media}`, {_kind(content.get('schema', {}))}\n"
    yield "| status | answer |\n|--:|---|"
    for status, answer in sorted(operation.get("responses", {}).items()):
        kinds = {_kind(content.get("schema", {})) for content in answer.get("content", {}).values()}
        yield f"| {status} | {_description(answer)} {', '.join(sorted(kinds))} |"
    yield ""


def _description(answer: Mapping[str, Any]) -> str:
    text = _cell(answer.get("description", ""))
    return "" if text == "Request fulfilled, document follows" else text


def _type(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {name}\n"
    if schema.get("description"):
        yield f"{schema['description']}\n"
    yield "| field | type | meaning |\n|---|---|---|"
    for field, about in schema["properties"].items():
        yield f"| `{field}` | {_kind(about)} | {_cell(about.get('description', ''))} |"
    yield ""


def _kind(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "oneOf" in schema or "anyOf" in schema:
        return " or ".join(_kind(option) for option in schema.get("oneOf", schema.get("anyOf")))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind = schema.get("type", "any")
    if isinstance(kind, list):
        return " or ".join(kind)
    return f"list of {_kind(schema.get('items', {}))}" if kind == "array" else str(kind)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
