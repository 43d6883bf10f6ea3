"""Fields that an Avro schema marks as deprecated: by a property `deprecated`, or by the word in `doc`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

MAX_DEPTH = 24
_MARK = re.compile(r"(?:^|[^\w-])@?deprecated\b", re.IGNORECASE)


def list_deprecated_fields(text: str) -> frozenset[str]:
    """Return the dotted paths of deprecated fields. A path passes through lists without an index."""
    try:
        schema = msgspec.json.decode(text.encode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError):
        return frozenset()
    return frozenset(_walk(schema, (), 0))


def _walk(schema: Any, path: tuple[str, ...], depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        return
    if isinstance(schema, list):
        for branch in schema:
            yield from _walk(branch, path, depth + 1)
    elif isinstance(schema, dict):
        for field in schema["fields"] if isinstance(schema.get("fields"), list) else ():
            if isinstance(field, dict):
                inner = (*path, str(field.get("name")))
                if _is_deprecated(field):
                    yield ".".join(inner)
                yield from _walk(field.get("type"), inner, depth + 1)
        for key in ("type", "items"):
            if isinstance(schema.get(key), dict | list):
                yield from _walk(schema[key], path, depth + 1)


def _is_deprecated(field: dict[str, Any]) -> bool:
    mark = field.get("deprecated")
    if mark is not None:
        return mark is not False and mark != "false"
    doc = field.get("doc")
    return isinstance(doc, str) and _MARK.search(doc) is not None
