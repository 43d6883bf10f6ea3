"""Fields of Redis entries into which frameworks write a whole message, headers and body."""

from __future__ import annotations

FASTSTREAM_FIELD = "__data__"
WATERMILL_ID_FIELD = "_watermill_message_uuid"
WATERMILL_METADATA_FIELD = "metadata"
WATERMILL_BODY_FIELD = "payload"
