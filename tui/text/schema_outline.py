"""Readable schemas: an outline of an Avro schema, and the difference between two of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

import msgspec

MAX_OUTLINE_LINES = 4_000
MAX_OUTLINE_DEPTH = 24


def outline(text: str) -> list[tuple[int, str, str]]:
    """Return depth, name and type of each field in order. A text that is no Avro schema is returned line by line."""
    try:
        schema = msgspec.json.decode(text.encode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError):
        return [(0, line, "") for line in text.split("\n")[:MAX_OUTLINE_LINES]]
    lines: list[tuple[int, str, str]] = []
    for line in _walk(schema, "", 0):
        lines.append(line)
        if len(lines) >= MAX_OUTLINE_LINES:
            break
    return lines


def _walk(schema: Any, name: str, depth: int) -> Iterator[tuple[int, str, str]]:
    if depth > MAX_OUTLINE_DEPTH:
        yield depth, name, "…"
        return
    if not name and isinstance(schema, dict):
        yield depth, _name(schema), str(schema.get("type", ""))
        yield from _inside(schema, depth + 1)
        return
    yield depth, name, _kind(schema)
    yield from _inside(schema, depth + 1)


def _inside(schema: Any, depth: int) -> Iterator[tuple[int, str, str]]:
    if depth > MAX_OUTLINE_DEPTH:
        return
    if isinstance(schema, list):
        for branch in schema:
            if isinstance(branch, dict):
                yield from _inside(branch, depth)
        return
    if not isinstance(schema, dict):
        return
    kind = schema.get("type")
    if kind == "record" and isinstance(schema.get("fields"), list):
        for field in schema["fields"]:
            if isinstance(field, dict):
                default = f" = {_json(field['default'])}" if "default" in field else ""
                yield depth, str(field.get("name", "?")), _kind(field.get("type")) + default
                yield from _inside(field.get("type"), depth + 1)
    elif kind == "array":
        yield from _inside(schema.get("items"), depth)
    elif kind == "map":
        yield from _inside(schema.get("values"), depth)
    elif isinstance(kind, dict | list):
        yield from _inside(kind, depth)


def _kind(schema: Any) -> str:
    if isinstance(schema, str):
        return schema
    if isinstance(schema, list):
        return " | ".join(_kind(branch) for branch in schema)
    if not isinstance(schema, dict):
        return "?"
    kind = schema.get("type")
    if logical := schema.get("logicalType"):
        return f"{kind} ({logical})"
    match kind:
        case "array":
            return f"array of {_kind(schema.get('items'))}"
        case "map":
            return f"map of {_kind(schema.get('values'))}"
        case "enum":
            symbols = schema.get("symbols")
            return f"enum {_name(schema)}: " + ", ".join(map(str, symbols if isinstance(symbols, list) else ()))
        case "record" | "fixed":
            return f"{kind} {_name(schema)}"
    return _kind(kind)


def _name(schema: dict[str, Any]) -> str:
    name, space = str(schema.get("name", "?")), schema.get("namespace")
    return f"{space}.{name}" if space and "." not in name else name


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode("utf-8", "replace")


def differences(before: str, after: str) -> list[tuple[str, int, str, str]]:
    """Return the outline of `after`, each line prefixed with ` `, `+` or `-` compared to `before`."""
    old, new = outline(before), outline(after)
    result: list[tuple[str, int, str, str]] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            result += [(" ", *line) for line in new[c:d]]
        else:
            result += [("-", *line) for line in old[a:b]]
            result += [("+", *line) for line in new[c:d]]
    return result
