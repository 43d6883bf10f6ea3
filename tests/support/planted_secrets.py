"""Secrets under awkward names and in awkward forms, planted in events and dead letters of many kinds.

Each has a number of its own, so that a leak says where it came from. All are in places that `REDACT` names, or in the
words of other programs.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from sidecar.domain.json_path import print_steps

MARK = "zqx"
"""In every secret, and in nothing else."""
_BEGIN = f"{MARK}-".encode()
_SHIFTED = [base64.b64encode(b"\0" * shift + _BEGIN).decode() for shift in range(3)]
FORMS = (MARK, _BEGIN.hex(), _SHIFTED[0][:5], _SHIFTED[1][2:7], _SHIFTED[2][3:8])
"""How a secret can look: as it is, in hex, and in base64 at each of its three places in a group."""
NAMES = [
    "größe", "4711", "a.b", 'a"b', "a[0]", "a]b", "two words", "x" * 200, "\U0001f600", "tab\there", "new\nline",
    "back\\slash", "…", "-", "0", "null", "string", "shop.Card", "Card", "ünï", "a:b", "(a)", "$ref", "@type",
    "esc\x1b", "Straße", "a/b", "%41", "ключ", "键",
]  # fmt: skip
DECOMPOSED = {"größe": "gro\u0308ße", "ünï": "u\u0308ni\u0308"}
REDACT = [
    *(f"body:{print_steps(('limits', name))}" for name in NAMES),
    "body:cards", "body:*.pin", "body:card.number", "body:data.card", "body:subject",
    "header:authorization", "header:x-*", "header:ce_subject",
]  # fmt: skip
SCHEMA = {
    "type": "record",
    "name": "Payment",
    "fields": [
        {"name": "eventId", "type": ["null", "string"], "default": None},
        {"name": "n", "type": "int", "default": 0},
        {"name": "limits", "type": {"type": "map", "values": ["int", {"type": "map", "values": "int"}]}},
        {"name": "cards", "type": {"type": "map", "values": "int"}, "default": {}},
    ],
}
Headers = tuple[tuple[str, bytes], ...]


class PlantedRecord(Struct, frozen=True):
    """A record with secrets."""

    stream: str
    value: bytes | None
    headers: Headers = ()
    key: bytes | None = None


class Secrets:
    """Numbered secrets."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self) -> str:
        """Make the next one."""
        self._count += 1
        return f"{MARK}-{self._count:03d}-{MARK}"


def plain_bodies(secret: Secrets) -> list[Any]:
    """Events that break their schema at a hidden place, or hold a secret in another form."""
    found: list[Any] = []
    for name in NAMES:
        found.append({"limits": {name: secret()}})
        found.append({"limits": {name: {secret(): "one"}}})
        found.append({"limits": {DECOMPOSED.get(name, name): {"deep": secret()}}})
    found += [
        {"limits": {}, "cards": {secret(): "a name is the secret"}},
        {"limits": {}, "cards": {"x" * 300: {secret() * 30: 1}}},
        {"limits": {}, "cards": secret()},
        {"limits": {}, "cards": json.dumps({"number": secret()})},
        {"limits": {}, "cards": [secret(), [secret()]]},
        {"limits": {}, "owner": {"pin": secret()}},
        {"limits": {}, "owner": {"string": {"pin": secret()}}},
        {"limits": {}, "owner": [{"pin": {"map": secret()}}]},
        {"limits": {"größe": secret()}, "n": "broken elsewhere"},
        [{"cards": secret()}],
    ]
    return found


def kafka_records(secret: Secrets, checked: str, free: str) -> Iterator[PlantedRecord]:
    """Records for a stream with the schema, and for one without."""
    for body in plain_bodies(secret):
        headers = (("Authorization", secret().encode()), ("X-Token", secret().encode()))
        yield PlantedRecord(checked, json.dumps(body).encode(), headers)
    yield PlantedRecord(checked, f'{{"limits": {{"größe": "{secret()}"'.encode())
    yield from _wrapped_in_json(secret, free)
    for name in ("x-correlation-id", "X-Causation-Id", "x-producer", "x-event-id"):
        yield PlantedRecord(free, b'{"eventType":"Seen"}', ((name, secret().encode()),))
    retried = (
        ("kafka_original-topic", checked.encode()),
        ("kafka_exception-fqcn", b"java.lang.IllegalStateException"),
        ("kafka_exception-message", f"no such card {secret()}".encode()),
        ("kafka_exception-stacktrace", f"java.lang.X: {secret()}\n\tat A.b\nCaused by: Y: {secret()}".encode()),
        ("retry_topic-attempts", b"\0\0\0\2"),
    )
    yield PlantedRecord(free, b'{"eventId":"retried"}', retried)


def _wrapped_in_json(secret: Secrets, stream: str) -> Iterator[PlantedRecord]:
    """CloudEvents, and events that Debezium and Connect wrote."""
    cloudevent = {"specversion": "1.0", "id": "ce-1", "source": "/shop", "type": "Paid"}
    card = {"card": {"number": secret()}}
    wrapped: list[dict[str, Any]] = [
        {**cloudevent, "subject": secret(), "data": {"card": secret()}},
        {**cloudevent, "data": json.dumps({"card": secret()})},
        {**cloudevent, "data_base64": base64.b64encode(json.dumps({"card": secret()}).encode()).decode()},
        {**cloudevent, "data_base64": base64.b64encode(f"not JSON {secret()}".encode()).decode()},
        {"schema": None, "payload": json.dumps(card)},
        {"schema": {"type": "struct"}, "payload": {"card": {"number": secret()}}},
        {"schema": None, "payload": {"op": "u", "before": {"cards": secret()}, "after": {"cards": secret()},
                                     "source": {"table": "t", "db": "d"}}},
        {"eventId": "e", "eventType": "T", "data": {"card": secret()}},
        {"payload": {"card": {"number": secret()}}},
    ]  # fmt: skip
    for body in wrapped:
        yield PlantedRecord(stream, json.dumps(body).encode())
    yield PlantedRecord(stream, json.dumps(card).encode(), (("ce_subject", secret().encode()), ("ce_id", b"i")))


def flat_entries(secret: Secrets) -> Iterator[Headers]:
    """Entries of a Redis stream, flat or with a message that a framework wrapped into their fields."""
    yield (("cards", secret().encode()), ("eventId", b"flat-1"))
    yield (("authorization", secret().encode()), ("eventId", b"flat-2"))
    yield (("payload", json.dumps({"card": {"number": secret()}}).encode()), ("x-token", secret().encode()))
    body = json.dumps({"card": {"number": secret()}}).encode()
    head = b"\0\1" + b"".join(struct.pack(">H", len(part)) + part for part in (b"authorization", secret().encode()))
    start = len(b"\x89BIN\r\n\x1a\n") + 10
    yield (("__data__", b"\x89BIN\r\n\x1a\n" + struct.pack(">HII", 1, start, start + len(head)) + head + body),)
    old = {"data": json.dumps({"card": {"number": secret()}}), "headers": {"authorization": secret()}}
    yield (("__data__", json.dumps(old).encode()),)
    packed = msgspec.msgpack.encode({"authorization": secret(), "name": "Paid"})
    payload = json.dumps({"card": {"number": secret()}}).encode()
    yield (("_watermill_message_uuid", b"w-1"), ("payload", payload), ("metadata", packed))


def foreign_letters(secret: Secrets, origin: str) -> Iterator[PlantedRecord]:
    """Dead letters of other frameworks, whose words quote the event. The stream is that of the letters."""
    body = json.dumps({"limits": {}, "card": {"number": secret()}}).encode()

    def told(names: Sequence[str], facts: dict[str, str]) -> Headers:
        words = [(name, f"java.lang.X: no card {secret()}\nCaused by: Y: {secret()}".encode()) for name in names]
        return (*((name, value.encode()) for name, value in facts.items()), *words)

    letters = [
        told(["kafka_dlt-exception-message", "kafka_dlt-exception-stacktrace", "kafka_dlt-key-exception-message"],
             {"kafka_dlt-original-topic": origin, "kafka_dlt-exception-fqcn": "java.lang.IllegalStateException"}),
        told(["kafka_exception-message", "kafka_exception-stacktrace"],
             {"kafka_original-topic": origin, "kafka_exception-fqcn": "java.lang.IllegalStateException"}),
        told(["kafka_exception-message", "kafka_dlt-exception-message", "kafka_exception-stacktrace"],
             {"kafka_dlt-original-topic": origin, "kafka_original-topic": origin}),
        told(["__connect.errors.exception.message", "__connect.errors.exception.stacktrace"],
             {"__connect.errors.topic": origin, "__connect.errors.exception.class.name": "org.apache.X"}),
        told(["__streams.errors.message", "__streams.errors.stacktrace"],
             {"__streams.errors.topic": origin, "__streams.errors.exception": "org.apache.X"}),
        told(["__dlq.errors.message"], {"__dlq.errors.topic": origin, "__dlq.errors.group": "g"}),
        told(["dead-letter-reason", "dead-letter-cause"],
             {"dead-letter-topic": origin, "dead-letter-exception-class-name": "java.lang.X"}),
        told(["x-exception-message", "x-exception-stacktrace"], {"x-original-topic": origin}),
        told(["exception-message", "exception-stack"],
             {"exception-type": "System.X", "original-destination": origin}),
        told(["reason_poisoned"], {"topic_poisoned": origin, "handler_poisoned": "h", "subscriber_poisoned": "s"}),
        told(["__rule.exception"], {"__rule.name": "r", "__rule.topic": origin}),
        told(["NServiceBus.ExceptionInfo.Message", "NServiceBus.ExceptionInfo.StackTrace"],
             {"NServiceBus.ExceptionInfo.ExceptionType": "System.X"}),
        told(["MT-Fault-Message", "MT-Fault-StackTrace"], {"MT-Fault-ExceptionType": "System.X"}),
        told(["error", "error.message", "exception", "stack", "stack_trace", "traceback", "Error-Description"], {}),
    ]  # fmt: skip
    for headers in letters:
        yield PlantedRecord(f"{origin}-dlt", body, headers)
