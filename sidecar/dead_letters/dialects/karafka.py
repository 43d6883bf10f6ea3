"""Karafka: `source_*` in text, `original_*` before its version 2.4, where the partition's number took the key's place
besides. The free edition tells nothing, and no edition tells the error."""

from __future__ import annotations

from sidecar.dead_letters.dialects.foreign_reader import FailureHeaders, HeaderValues, letter
from sidecar.domain.model import DeadLetter, Record
from sidecar.domain.stream_names import StreamNames

MARKS = ("source_topic", "original_topic")
_NAMES = ("topic", "partition", "offset", "consumer_group", "attempts", "trace_id")


def read(record: Record, naming: StreamNames) -> DeadLetter | None:
    values = HeaderValues(record.headers)
    for kind in ("source", "original"):
        topic, partition = values.text(f"{kind}_topic"), values.number(f"{kind}_partition", 4)
        offset = values.number(f"{kind}_offset")
        if topic is None or partition is None or offset is None:
            continue
        told = FailureHeaders(
            stream=topic,
            partition=partition,
            offset=offset,
            group=values.text(f"{kind}_consumer_group"),
            message="Karafka does not tell the error",
            attempts=values.number(f"{kind}_attempts", 4),
            failed_at=record.timestamp * 1000,
            omitted=("key",) if kind == "original" and record.key == b"%d" % partition else (),
        )
        own = frozenset(f"{kind}_{name}" for name in _NAMES)
        return letter(record, naming, "karafka", told, own.__contains__)
    return None
