"""Attribute names of OpenTelemetry's semantic conventions for messaging.

`OTEL_SEMCONV_STABILITY_OPT_IN`, a comma-separated list, selects the version, as for every instrumentation: the names of
1.44 by default, those of 1.45 (which renamed some) with `messaging`, both with `messaging/dup`. Attributes for which
the conventions have no name begin with `tracecar.`.
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
"""Kind of a link: `creation`, `replay_of`, `duplicate_of` or `cause`."""

RENAMED = {
    SYSTEM: "messaging.system.name",
    KAFKA_OFFSET: "kafka.offset",
    KAFKA_KEY: "kafka.message.key",
    KAFKA_TOMBSTONE: "kafka.message.tombstone",
}
"""New names in 1.45 of attributes of 1.44."""

Spelling = Mapping[str, tuple[str, ...]]
"""Names under which an attribute is sent, by its name in 1.44. An absent attribute is sent under that name alone."""


def read_spelling(environ: Mapping[str, str] = os.environ) -> Spelling:
    """Read from the environment under which names attributes are sent."""
    opt_in = {word.strip() for word in environ.get(OPT_IN, "").split(",")}
    if "messaging/dup" in opt_in:
        return {old: (old, new) for old, new in RENAMED.items()}
    if "messaging" in opt_in:
        return {old: (new,) for old, new in RENAMED.items()}
    return {}


def names_for(spelling: Spelling, name: str) -> tuple[str, ...]:
    """Return the names under which an attribute is sent."""
    return spelling.get(name, (name,))
