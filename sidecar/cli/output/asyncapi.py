"""The catalog as an AsyncAPI 3.0 document, and its differences to a given one of version 2 or 3."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sidecar.api import models

SPEC_VERSION = "3.0.0"
AVRO_FORMAT = "application/vnd.apache.avro;version=1.9.0"
JSON_SCHEMA_FORMAT = "application/schema+json;version=draft-07"
MAX_INFERRED_DEPTH = 12


def to_asyncapi(page: models.CatalogPage, version: str) -> dict[str, Any]:
    """Build the document. Producers send and consumer groups receive; `version` is that of the document."""
    names = name_entries(page.items)
    ids = unique_identifiers(
        name for entry in page.items for name in (entry.stream, *entry.producers, *entry.consumers)
    )
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    for entry, name in zip(page.items, names, strict=True):
        channel = channels.setdefault(
            ids[entry.stream], {"address": entry.stream, "messages": {}, "x-broker": entry.system}
        )
        channel["messages"][name] = {"$ref": f"#/components/messages/{name}"}
        messages[name] = _message(entry, name)
        for action, parties in (("send", entry.producers), ("receive", entry.consumers)):
            for party in parties:
                _add_operation(operations, action, (party, ids[party]), ids[entry.stream], name)
    return {
        "asyncapi": SPEC_VERSION,
        "info": {
            "title": f"Events of {page.service}",
            "version": version,
            "description": "Generated from the events that flow, by `tracecar catalog --format asyncapi`.",
        },
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages},
    }


def _add_operation(operations: dict[str, Any], action: str, party: tuple[str, str], channel: str, message: str) -> None:
    name, id = party
    operation = operations.setdefault(
        f"{id}-{action}-{channel}",
        {
            "action": action,
            "title": f"{name} {action}s",
            "channel": {"$ref": f"#/channels/{channel}"},
            "messages": [],
        },
    )
    operation["messages"].append({"$ref": f"#/channels/{channel}/messages/{message}"})


def _message(entry: models.CatalogEntryModel, name: str) -> dict[str, Any]:
    message: dict[str, Any] = {
        "name": entry.type or name,
        "title": entry.type or f"Events without type on {entry.stream}",
    }
    if entry.documentation:
        message["summary"] = entry.documentation
    if entry.schema_text is not None and entry.schema_kind == "AVRO":
        message |= _payload("application/avro", AVRO_FORMAT, entry.schema_text)
    elif entry.schema_text is not None and entry.schema_kind == "JSON":
        message |= _payload("application/json", JSON_SCHEMA_FORMAT, entry.schema_text)
    else:
        message |= {"contentType": "application/json", "payload": infer_schema(entry.example)}
    facts = {
        "x-owner": entry.owner,
        "x-events": entry.events,
        "x-rejected": entry.rejected,
        "x-rate": entry.rate,
        "x-caused-by": entry.causes or None,
        "x-schema-versions": [use.ref.version for use in entry.schemas if use.ref.version is not None] or None,
        "x-example": entry.example,
    }
    return message | {key: value for key, value in facts.items() if value is not None}


def _payload(content_type: str, format: str, text: str) -> dict[str, Any]:
    import msgspec

    return {"contentType": content_type, "payload": {"schemaFormat": format, "schema": msgspec.json.decode(text)}}


def infer_schema(example: Any, depth: int = 0) -> dict[str, Any]:
    """Describe an example as JSON Schema: what is there, without claiming that anything is required."""
    match example:
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer"}
        case float():
            return {"type": "number"}
        case str():
            return {"type": "string"}
        case list():
            return {"type": "array"} | ({"items": infer_schema(example[0], depth + 1)} if example else {})
        case dict() if depth < MAX_INFERRED_DEPTH:
            return {
                "type": "object",
                "properties": {str(name): infer_schema(value, depth + 1) for name, value in example.items()},
            }
    return {}


def identifier(name: str) -> str:
    """Turn a name into one that AsyncAPI and file systems accept: letters, digits, `.`, `-` and `_`."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", name).strip("-.") or "unnamed"


def unique_identifiers(names: Iterable[str]) -> dict[str, str]:
    """Return an identifier for each name, different ones for different names."""
    identifiers: dict[str, str] = {}
    taken: set[str] = set()
    for name in dict.fromkeys(names):
        candidate = identifier(name)
        while candidate in taken:
            candidate += "_"
        taken.add(candidate)
        identifiers[name] = candidate
    return identifiers


def name_entries(entries: Sequence[models.CatalogEntryModel]) -> list[str]:
    """Return a unique name for each entry: its type, with the stream where several streams have the type."""
    types = [entry.type or "untyped" for entry in entries]
    names: list[str] = []
    for entry, type in zip(entries, types, strict=True):
        name = identifier(type if types.count(type) == 1 else f"{type}.{entry.stream}")
        while name in names:
            name += "_"
        names.append(name)
    return names


class CatalogDifference(NamedTuple):
    """A difference between a declared and a real catalog."""

    kind: str
    """`not seen`, `not declared` or `other stream`."""
    stream: str
    type: str | None
    message: str


def compare_with_asyncapi(document: Mapping[str, Any], page: models.CatalogPage) -> list[CatalogDifference]:
    """Compare declared channels and messages with the real streams and types.

    Args:
        document: An AsyncAPI document of version 2 or 3. Raises ValueError for anything else.
        page: The real catalog.
    """
    declared = _declared_types(document)
    real: dict[str, set[str | None]] = {}
    for entry in page.items:
        real.setdefault(entry.stream, set()).add(entry.type)
    return sorted(_differences(declared, real), key=lambda difference: (difference.stream, difference.type or ""))


def _differences(declared: Mapping[str, set[str]], real: Mapping[str, set[str | None]]) -> Iterator[CatalogDifference]:
    streams_by_type: dict[str, list[str]] = {}
    for stream, types in real.items():
        for type in types:
            if type is not None:
                streams_by_type.setdefault(type, []).append(stream)
    for stream, names in declared.items():
        if stream not in real:
            yield CatalogDifference("not seen", stream, None, "the stream is declared, and no event of it was seen")
            continue
        for name in names - {type for type in real[stream] if type is not None}:
            elsewhere = [other for other in streams_by_type.get(name, ()) if other != stream]
            if elsewhere:
                message = f"the type is declared here, and was seen on {', '.join(elsewhere)}"
                yield CatalogDifference("other stream", stream, name, message)
            else:
                yield CatalogDifference("not seen", stream, name, "the type is declared, and no event of it was seen")
    for stream, types in real.items():
        if stream not in declared:
            yield CatalogDifference("not declared", stream, None, "events flow on a stream that is not declared")
            continue
        for type in types:
            if type is None:
                yield CatalogDifference("not declared", stream, None, "events without a type flow here")
            elif type not in declared[stream]:
                yield CatalogDifference("not declared", stream, type, "events of a type flow that is not declared")


def _declared_types(document: Mapping[str, Any]) -> dict[str, set[str]]:
    """Return the names of the messages by the address of their channel."""
    version, channels = str(document.get("asyncapi", "")), document.get("channels")
    if not version.startswith(("2.", "3.")) or not isinstance(channels, Mapping):
        raise ValueError(f"expected an AsyncAPI document of version 2 or 3 with `channels`, found version {version!r}")
    declared: dict[str, set[str]] = {}
    for name, reference in channels.items():
        channel = _resolve(document, reference)
        if not isinstance(channel, Mapping):
            continue
        if version.startswith("3."):
            address = channel.get("address") or name
            listed = channel.get("messages") or {}
            messages = list(listed.items()) if isinstance(listed, Mapping) else []
        else:
            address = name
            messages = [
                ("", message)
                for verb in ("publish", "subscribe")
                for message in _messages_of_v2(document, channel.get(verb))
            ]
        names = {_message_name(document, key, message) for key, message in messages}
        declared.setdefault(str(address), set()).update(name for name in names if name)
    return declared


def _messages_of_v2(document: Mapping[str, Any], operation: Any) -> list[Any]:
    message = operation.get("message") if isinstance(operation, Mapping) else None
    if isinstance(message, Mapping) and isinstance(message.get("oneOf"), list):
        return list(message["oneOf"])
    return [] if message is None else [message]


def _message_name(document: Mapping[str, Any], key: str, message: Any) -> str:
    resolved = _resolve(document, message)
    fallback = key or (
        str(message["$ref"]).rpartition("/")[2] if isinstance(message, Mapping) and "$ref" in message else ""
    )
    name = resolved.get("name") if isinstance(resolved, Mapping) else None
    return str(name or fallback)


def _resolve(document: Mapping[str, Any], value: Any) -> Any:
    """Follow local references, at most ten."""
    for _ in range(10):
        reference = value.get("$ref") if isinstance(value, Mapping) else None
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return value
        value = document
        for part in reference[2:].split("/"):
            part = part.replace("~1", "/").replace("~0", "~")
            value = value.get(part) if isinstance(value, Mapping) else None
    return value
