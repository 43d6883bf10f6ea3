"""The names of attributes, by OpenTelemetry's semantic conventions for messaging.

Which version is spoken, `OTEL_SEMCONV_STABILITY_OPT_IN` says, as every instrumentation is asked to listen to it (a list
separated by commas): without `messaging` in it the names of 1.44, with it those of 1.45, which renamed some, with
`messaging/dup` both. What the conventions have no word for begins with `tracecar.`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

OPT_IN = "OTEL_SEMCONV_STABILITY_OPT_IN"

SYSTEM = "messaging.system"
OPERATION_NAME, OPERATION_TYPE = "messaging.operation.name", "messaging.operation.type"
DESTINATION, PARTITION = "messaging.destination.name", "messaging.destination.partition.id"
GROUP = "messaging.consumer.group.name"
MESSAGE_ID, CONVERSATION_ID = "messaging.message.id", "messaging.message.conversation_id"
BODY_SIZE = "messaging.message.body.size"
KAFKA_OFFSET, KAFKA_KEY = "messaging.kafka.offset", "messaging.kafka.message.key"
KAFKA_TOMBSTONE = "messaging.kafka.message.tombstone"
ERROR_TYPE = "error.type"
SERVER_ADDRESS, SERVER_PORT = "server.address", "server.port"

POSITION, KEY = "tracecar.position", "tracecar.key"
EVENT_TYPE, AGGREGATE_ID, PRODUCER = "tracecar.event.type", "tracecar.aggregate.id", "tracecar.producer"
SCHEMA = "tracecar.schema"
CODE, STAGE, MESSAGE, PATH = "tracecar.code", "tracecar.stage", "tracecar.message", "tracecar.path"
DEAD_LETTER_ID, DEAD_LETTER_STREAM = "tracecar.dead_letter.id", "tracecar.dead_letter.stream"
DUPLICATE, PARENT_INFERRED = "tracecar.duplicate", "tracecar.parent.inferred"
LINK = "tracecar.link"
"""On a link: what is behind it, `creation`, `replay_of`, `duplicate_of` or `cause`."""

RENAMED = {
    SYSTEM: "messaging.system.name",
    KAFKA_OFFSET: "kafka.offset",
    KAFKA_KEY: "kafka.message.key",
    KAFKA_TOMBSTONE: "kafka.message.tombstone",
}
"""What 1.45 calls them."""

Spelling = Mapping[str, tuple[str, ...]]
"""For a name of 1.44 the names under which it is sent, where they differ from it."""


def spelling(environ: Mapping[str, str] = os.environ) -> Spelling:
    """The names that the environment asks for."""
    wanted = {word.strip() for word in environ.get(OPT_IN, "").split(",")}
    if "messaging/dup" in wanted:
        return {old: (old, new) for old, new in RENAMED.items()}
    if "messaging" in wanted:
        return {old: (new,) for old, new in RENAMED.items()}
    return {}


def spelled(spelling: Spelling, name: str) -> tuple[str, ...]:
    return spelling.get(name, (name,))
