"""Karafka: headers `source_*` in text, `original_*` before version 2.4.

Before 2.4 the partition's number also replaced the key. The free edition writes no headers, and no edition writes the
error.
"""

from __future__ import annotations

from sidecar.dead_letters.dialects.dialect import Dialect
from sidecar.dead_letters.dialects.foreign_letter import FailureHeaders, HeaderValues, build_letter
from sidecar.domain.model import DeadLetter, Record
from sidecar.domain.stream_names import StreamNames

_MARKERS = ("source_topic", "original_topic")
_NAMES = ("topic", "partition", "offset", "consumer_group", "attempts", "trace_id")


def _read(record: Record, naming: StreamNames) -> DeadLetter | None:
    values = HeaderValues(record.headers)
    for kind in ("source", "original"):
        topic, partition = values.text(f"{kind}_topic"), values.number(f"{kind}_partition", 4)
        offset = values.number(f"{kind}_offset")
        if topic is None or partition is None or offset is None:
            continue
        failure = FailureHeaders(
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
        return build_letter(record, naming, "karafka", failure, own.__contains__)
    return None


DIALECT = Dialect(name="karafka", framework="Karafka", read=_read, markers=_MARKERS)
