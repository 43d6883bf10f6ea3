"""Header dialects of dead letters, one file each, and the table of them all.

A letter is read as ours where our headers are there. Other frameworks add their headers after what is there: the
dialect whose mark stands last is that of the latest failure, and the headers of earlier ones are the record's own."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from sidecar.dead_letters.dialects import (
    connect,
    kafka_streams,
    karafka,
    share_group,
    smallrye,
    spring,
    spring_cloud_stream,
    spring_retry,
    tracecar,
    unknown,
    wolverine,
)
from sidecar.domain.model import DeadLetter, Record
from sidecar.domain.stream_names import StreamNames

Read = Callable[[Record, StreamNames], DeadLetter | None]


class Dialect(Struct, frozen=True):
    """How a framework writes dead letters."""

    name: str
    framework: str
    streams: tuple[str, ...]
    """The names that its dead-letter streams have by default, as `dead_letters.read` takes them."""
    marks: tuple[str, ...]
    """The headers that it is recognized by: any of them."""
    read: Read
    """None where the headers are not this dialect's after all."""
    written: bool = False
    """Whether `dead_letters.dialects` can write it beside our own."""


DIALECTS: tuple[Dialect, ...] = (
    Dialect(
        "tracecar", "Tracecar", ("{stream}.dlt",), (tracecar.ID_HEADER,), lambda record, _: tracecar.read(record), True
    ),
    Dialect("spring", "Spring Kafka", ("{stream}-dlt", "{stream}.DLT"), spring.MARKS, spring.read, True),
    Dialect("spring-retry", "Spring @RetryableTopic", ("{stream}-dlt",), spring_retry.MARKS, spring_retry.read),
    Dialect("connect", "Kafka Connect", (), connect.MARKS, connect.read, True),
    Dialect("streams", "Kafka Streams", (), kafka_streams.MARKS, kafka_streams.read, True),
    Dialect("share-group", "Kafka share groups", ("dlq.*",), share_group.MARKS, share_group.read, True),
    Dialect("smallrye", "SmallRye, Quarkus", ("dead-letter-topic-*",), smallrye.MARKS, smallrye.read),
    Dialect(
        "spring-cloud-stream",
        "Spring Cloud Stream",
        ("error.{stream}.*",),
        spring_cloud_stream.MARKS,
        spring_cloud_stream.read,
    ),
    Dialect("karafka", "Karafka", (), karafka.MARKS, karafka.read),
    Dialect("wolverine", "Wolverine", ("wolverine-dead-letter-queue",), wolverine.MARKS, wolverine.read),
    Dialect("unknown", "any other", (), (), unknown.read),
)
"""Ours first, `unknown` last."""
_BY_MARK: dict[str, Read] = {mark: dialect.read for dialect in DIALECTS[1:] for mark in dialect.marks}


def read(record: Record, naming: StreamNames) -> DeadLetter:
    """What a record of a dead-letter stream says, in whichever dialect; what none knows is `unknown`. Never raises for
    what the headers hold."""
    ours = tracecar.read(record)
    if ours is not None:
        return ours
    tried: set[Read] = set()
    for name, _ in reversed(record.headers):
        reader = _BY_MARK.get(name)
        if reader is None or reader in tried:
            continue
        found = reader(record, naming)
        if found is not None:
            return tracecar.add_replay_facts(found, record.headers)
        tried.add(reader)
    return tracecar.add_replay_facts(unknown.read(record, naming), record.headers)
