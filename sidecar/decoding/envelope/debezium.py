"""Debezium's change events, and the wrapper of Kafka Connect's JSON converter around them.

A change event is `{before, after, source, op, ts_ms}`, wrapped as `{schema, payload}` where the converter writes
schemas. It implies words that the contract's places do not find: the type is `TABLE.created` (or updated, deleted,
read, truncated, message), the aggregate's type is the table, its id the key's single field, the producer the
connector's logical name, and the time that of the change in the database. Debezium's outbox router needs nothing here:
its headers (`id`, `eventType`) are built-in places of the envelope and its value is the service's own event.
"""

from __future__ import annotations

from typing import Any

import msgspec

_VERBS = {"c": "created", "u": "updated", "d": "deleted", "r": "read", "t": "truncated", "m": "message"}
CONVERTED = frozenset(("schema", "payload"))
"""The fields that Connect's JSON converter wraps a value in."""
FIELDS = frozenset(("op", "source"))
"""Every change event has these."""


def unwrap(body: Any) -> tuple[Any, str]:
    """What Connect's JSON converter wrapped, and the path it stands at: `payload`, or empty where nothing is wrapped.
    A payload that is itself JSON in text (the outbox router's, unexpanded) is read."""
    if body.__class__ is not dict or body.keys() != CONVERTED or not isinstance(body["schema"], (dict, type(None))):
        return body, ""
    payload = body["payload"]
    if payload.__class__ is str and payload[:1] in ("{", "["):
        try:
            return msgspec.json.decode(payload), "payload"
        except (msgspec.DecodeError, RecursionError):
            pass
    return payload, "payload"


def is_change(body: Any) -> bool:
    """This decoded value is a change event."""
    return (
        body.__class__ is dict
        and body.get("op").__class__ is str
        and body.get("op") in _VERBS
        and body.get("source").__class__ is dict
        and ("after" in body or "before" in body or body["op"] in "tm")
    )


def implied_fields(change: dict[str, Any], key: bytes | None) -> dict[str, Any]:
    """The event's words as the change implies them, unread."""
    source = change["source"]
    table = source.get("table") or source.get("collection")
    words: dict[str, Any] = {}
    if table.__class__ is str:
        words["type"] = f"{table}.{_VERBS[change['op']]}"
        words["aggregate_type"] = table
    words["occurred_at"] = source.get("ts_us") or source.get("ts_ms") or change.get("ts_ms")
    words["producer"] = source.get("name")
    words["aggregate_id"] = _row_id(key)
    return {word: value for word, value in words.items() if value is not None}


def _row_id(key: bytes | None) -> Any:
    """The one value of a JSON key such as `{"id": 5}`; None where it has several, or is no JSON."""
    if key is None or key[:1] != b"{":
        return None
    try:
        fields, _ = unwrap(msgspec.json.decode(key))
    except (msgspec.DecodeError, RecursionError):
        return None
    return next(iter(fields.values())) if fields.__class__ is dict and len(fields) == 1 else None
