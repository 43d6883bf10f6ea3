"""Debezium's events in all their forms, and the wrapper of Kafka Connect's JSON converter around them.

A change event is `{before, after, source, op, ts_ms}`, wrapped as `{schema, payload}` if the converter writes schemas.
It implies fields that the built-in locations do not find: the type is `TABLE.created` (or updated, deleted, read,
truncated, message), the aggregate type is the table, the aggregate id the key's single field, the producer the
connector's logical name, and the time that of the change in the database.

`ExtractNewRecordState` keeps only the row, with `__op`, `__table`, `__deleted` and `__source_*` in the body or in
headers. The CloudEvents converter has `iodebezium*` attributes. A tombstone has nothing but its key: its table comes
from the topic's name, after the logical name in the `__debezium.context.*` headers, or from the change events of the
stream. The outbox router needs no code here: its headers (`id`, `eventType`) are built-in locations of the envelope.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from sidecar.decoding.record_key import MAX_JSON_KEY_BYTES
from sidecar.domain.json_limits import has_too_many_values
from sidecar.domain.model import Headers

_VERBS = {"c": "created", "u": "updated", "d": "deleted", "r": "read", "t": "truncated", "m": "message"}
CONVERTED = frozenset(("schema", "payload"))
"""Fields in which Connect's JSON converter wraps a value."""
FIELDS = frozenset(("op", "source"))
"""Fields of every change event."""
ROW_FIELDS = frozenset(("__op", "__deleted", "__table", "__source_table"))
"""Fields or headers that `ExtractNewRecordState` adds to a row; one of them identifies such a row."""
_CLOUDEVENT_HEADERS = ("ce_iodebeziumtable", "ce_iodebeziumcollection")
ROW_HEADERS = ROW_FIELDS | {*_CLOUDEVENT_HEADERS}
"""Headers that name the table of a row."""
_LOGICAL_NAME_HEADER = "__debezium.context.connectorLogicalName"
CLOUDEVENT_TABLES = ("iodebeziumtable", "iodebeziumcollection")
_MAX_VALUE_BYTES = 4_096


def unwrap(body: Any) -> tuple[Any, str]:
    """Return the value that Connect's JSON converter wrapped, and its path: `payload`, or empty if nothing is wrapped.

    A payload that is itself JSON in text (the outbox router's, not expanded) is decoded.
    """
    if body.__class__ is not dict or body.keys() != CONVERTED or not isinstance(body["schema"], (dict, type(None))):
        return body, ""
    payload = body["payload"]
    if payload.__class__ is str and payload[:1] in ("{", "["):
        try:
            text = payload.encode()
            if not has_too_many_values(text):
                return msgspec.json.decode(text), "payload"
        except (msgspec.DecodeError, ValueError, RecursionError):
            pass
    return payload, "payload"


def is_change(body: Any) -> bool:
    """Check whether a decoded value is a change event."""
    return (
        body.__class__ is dict
        and body.get("op").__class__ is str
        and body.get("op") in _VERBS
        and body.get("source").__class__ is dict
        and ("after" in body or "before" in body or body["op"] in "tm")
    )


def implied_fields(change: dict[str, Any], key: bytes | None) -> dict[str, Any]:
    """Return the envelope's fields that a change event implies, before coercion."""
    source = change["source"]
    fields = _of_table(source.get("table") or source.get("collection"), _VERBS[change["op"]])
    fields["occurred_at"] = source.get("ts_us") or source.get("ts_ms") or change.get("ts_ms")
    fields["producer"] = source.get("name")
    fields["aggregate_id"] = _row_id(key)
    return {name: value for name, value in fields.items() if value is not None}


def implied_row_fields(body: Mapping[str, Any], headers: Headers, stream: str) -> dict[str, Any]:
    """Return the fields that a row of `ExtractNewRecordState` implies, from its body and its headers."""
    facts: dict[str, Any] = {
        name: value[:_MAX_VALUE_BYTES].decode("utf-8", "replace")
        for name, value in headers
        if value and name.startswith(("__", "ce_iodebezium"))
    }
    facts.update({name: value for name, value in body.items() if name.startswith("__") and value is not None})
    verb = "deleted" if str(facts.get("__deleted")).lower() == "true" else _VERBS.get(str(facts.get("__op")))
    names = ("__source_table", "__table", "__collection", *_CLOUDEVENT_HEADERS)
    table = next((facts[name] for name in names if facts.get(name)), None)
    fields = _of_table(table or table_of_stream(stream, headers), verb)
    fields["occurred_at"] = facts.get("__source_ts_us") or facts.get("__source_ts_ms") or facts.get("__ts_ms")
    fields["producer"] = facts.get("__source_name") or facts.get("__name") or _logical_name(headers)
    return {name: value for name, value in fields.items() if value is not None}


def cloudevent_fields(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the aggregate type of an event of Debezium's CloudEvents converter; empty for other CloudEvents."""
    table = next((attributes[name] for name in CLOUDEVENT_TABLES if attributes.get(name)), None)
    return {"aggregate_type": table} if table.__class__ is str else {}


def table_of_stream(stream: str, headers: Headers) -> str | None:
    """Return the table in a topic's name `LOGICAL_NAME[.SCHEMA].TABLE`; None without Debezium's headers."""
    prefix = _logical_name(headers)
    if prefix is None or not stream.startswith(prefix + "."):
        return None
    return stream[len(prefix) + 1 :].rpartition(".")[2] or None


def _logical_name(headers: Headers) -> str | None:
    value = next((value for name, value in headers if name == _LOGICAL_NAME_HEADER), None)
    return value[:_MAX_VALUE_BYTES].decode("utf-8", "replace") if value else None


def _of_table(table: Any, verb: str | None) -> dict[str, Any]:
    if table.__class__ is not str or not table:
        return {}
    return {"aggregate_type": table} if verb is None else {"type": f"{table}.{verb}", "aggregate_type": table}


def _row_id(key: bytes | None) -> Any:
    """Return the one value of a JSON key such as `{"id": 5}`; None where it has several, or is no JSON."""
    if key is None or key[:1] != b"{" or len(key) > MAX_JSON_KEY_BYTES:
        return None
    try:
        fields, _ = unwrap(msgspec.json.decode(key))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return next(iter(fields.values())) if fields.__class__ is dict and len(fields) == 1 else None
