"""Outline of an Avro schema for people: one line for each field.

It works on the text, so a schema that cannot be compiled has an outline too.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec

from sidecar.decoding.formats.schema_format import MAX_OUTLINE_LINES, OutlineLine

MAX_DEPTH = 24
"""Levels of nested fields to show."""


def outline_text(text: str) -> list[OutlineLine]:
    """List the fields of an Avro schema; for a text that is not JSON, its lines."""
    try:
        schema = msgspec.json.decode(text.encode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError):
        return [OutlineLine(0, line, "") for line in text.split("\n")[:MAX_OUTLINE_LINES]]
    return list(islice(_root_lines(schema), MAX_OUTLINE_LINES))


def _root_lines(schema: Any) -> Iterator[OutlineLine]:
    if isinstance(schema, dict):
        yield OutlineLine(0, _full_name(schema), str(schema.get("type", "")))
    else:
        yield OutlineLine(0, "", _type_text(schema))
    yield from _inner_lines(schema, 1)


def _inner_lines(schema: Any, depth: int) -> Iterator[OutlineLine]:
    if depth > MAX_DEPTH:
        return
    if isinstance(schema, list):
        for branch in schema:
            if isinstance(branch, dict):
                yield from _inner_lines(branch, depth)
        return
    if not isinstance(schema, dict):
        return
    kind = schema.get("type")
    if kind == "record" and isinstance(schema.get("fields"), list):
        for field in schema["fields"]:
            if isinstance(field, dict):
                default = f" = {_json(field['default'])}" if "default" in field else ""
                yield OutlineLine(depth, str(field.get("name", "?")), _type_text(field.get("type")) + default)
                yield from _inner_lines(field.get("type"), depth + 1)
    elif kind == "array":
        yield from _inner_lines(schema.get("items"), depth)
    elif kind == "map":
        yield from _inner_lines(schema.get("values"), depth)
    elif isinstance(kind, dict | list):
        yield from _inner_lines(kind, depth)


def _type_text(schema: Any) -> str:
    if isinstance(schema, str):
        return schema
    if isinstance(schema, list):
        return " | ".join(_type_text(branch) for branch in schema)
    if not isinstance(schema, dict):
        return "?"
    kind = schema.get("type")
    if logical := schema.get("logicalType"):
        return f"{kind} ({logical})"
    match kind:
        case "array":
            return f"array of {_type_text(schema.get('items'))}"
        case "map":
            return f"map of {_type_text(schema.get('values'))}"
        case "enum":
            symbols = schema.get("symbols")
            names = ", ".join(map(str, symbols if isinstance(symbols, list) else ()))
            return f"enum {_full_name(schema)}: {names}"
        case "record" | "fixed":
            return f"{kind} {_full_name(schema)}"
    return _type_text(kind)


def _full_name(schema: dict[str, Any]) -> str:
    name, namespace = str(schema.get("name", "?")), schema.get("namespace")
    return f"{namespace}.{name}" if namespace and "." not in name else name


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode("utf-8", "replace")
