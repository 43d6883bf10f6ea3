"""Topic ids (KIP-516): find the id of a topic name, and fetch by id rather than by name.

A topic that is deleted and created again has another id. A fetch by id (Kafka 3.1 and later) never returns records of
the new topic under the old one's offsets: the broker answers UNKNOWN_TOPIC_ID. aiokafka 0.14 has neither request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any

from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactBytes,
    CompactString,
    Int8,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)
from msgspec import Struct

TOPIC_ID_BYTES = 16
NO_TOPIC_ID = bytes(TOPIC_ID_BYTES)
"""Id that brokers send for topics without an id."""
_METADATA_API_ID, _METADATA_API_VERSION = 3, 10
_FETCH_API_ID, _FETCH_API_VERSION = 1, 13
_RACK_VERSION = 11
"""First version of a fetch that names the client's rack and the replica to prefer."""


class _Uuid(AbstractType[bytes]):  # type: ignore[misc]  # aiokafka is untyped
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(TOPIC_ID_BYTES)


class _SkippedPartitions(AbstractType[int]):  # type: ignore[misc]
    """Partitions of a topic, which are not read: aiokafka takes 30 µs for each of them."""

    FIXED_BYTES = 14
    """Error code, number, leader and leader epoch."""
    REPLICA_LIST_COUNT = 3
    """Replicas, replicas in sync and replicas offline, of four bytes each."""

    @classmethod
    def decode(cls, data: BytesIO) -> int:
        """Return the number of partitions."""
        at = data.tell()
        with data.getbuffer() as view:
            length, at = _read_number(view, at)
            for _ in range(length - 1):
                at += cls.FIXED_BYTES
                for _ in range(cls.REPLICA_LIST_COUNT):
                    entries, at = _read_number(view, at)
                    at += 4 * max(0, entries - 1)
                tags, at = _read_number(view, at)
                for _ in range(tags):
                    _, at = _read_number(view, at)
                    size, at = _read_number(view, at)
                    at += size
        data.seek(at)
        return max(0, length - 1)


def _read_number(view: memoryview, at: int) -> tuple[int, int]:
    """Read an unsigned number of variable length, and the index after it."""
    byte = view[at]
    number, shift, at = byte & 0x7F, 7, at + 1
    while byte > 0x7F:
        byte = view[at]
        number |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
    return number, at


_TEXT = CompactString("utf-8")
_NUMBERS = CompactArray(Int32)


class _MetadataResponse(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = _METADATA_API_ID, _METADATA_API_VERSION
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT), ("tags", TaggedFields)),
        ),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", _TEXT),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                ("partition_count", _SkippedPartitions),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _MetadataStruct(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY, API_VERSION = _METADATA_API_ID, _METADATA_API_VERSION
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", _TEXT), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class TopicIdsRequest(Request[_MetadataStruct]):  # type: ignore[misc]
    """Request for the ids of topics. Preparing it raises NotImplementedError for a broker older than Kafka 2.8."""

    API_KEY = _METADATA_API_ID

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[_MetadataStruct]) -> _MetadataStruct:
        topics: list[Any] = [(NO_TOPIC_ID, name, {}) for name in self._names]
        return request_struct_class(topics, False, False, False, {})


class _FetchResponse(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = _FETCH_API_ID, _FETCH_API_VERSION
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("session_id", Int32),
        (
            "topics",
            CompactArray(
                ("topic_id", _Uuid),
                (
                    "partitions",
                    CompactArray(
                        ("number", Int32),
                        ("error_code", Int16),
                        ("high_watermark", Int64),
                        ("last_stable_offset", Int64),
                        ("log_start_offset", Int64),
                        (
                            "aborted",
                            CompactArray(("producer_id", Int64), ("first_offset", Int64), ("tags", TaggedFields)),
                        ),
                        ("preferred_read_replica", Int32),
                        ("records", CompactBytes),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _FetchStruct(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY, API_VERSION = _FETCH_API_ID, _FETCH_API_VERSION
    RESPONSE_TYPE = _FetchResponse
    SCHEMA = Schema(
        ("replica_id", Int32),
        ("max_wait_ms", Int32),
        ("min_bytes", Int32),
        ("max_bytes", Int32),
        ("isolation_level", Int8),
        ("session_id", Int32),
        ("session_epoch", Int32),
        (
            "topics",
            CompactArray(
                ("topic_id", _Uuid),
                (
                    "partitions",
                    CompactArray(
                        ("number", Int32),
                        ("leader_epoch", Int32),
                        ("offset", Int64),
                        ("last_fetched_epoch", Int32),
                        ("log_start_offset", Int64),
                        ("max_bytes", Int32),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        (
            "forgotten_topics",
            CompactArray(("topic_id", _Uuid), ("partitions", _NUMBERS), ("tags", TaggedFields)),
        ),
        ("rack_id", _TEXT),
        ("tags", TaggedFields),
    )


class IdentifiedFetchRequest(FetchRequest):  # type: ignore[misc]
    """Fetch request by topic id if the broker knows ids and all are given, else by name. `ids`: by topic name."""

    API_KEY = _FETCH_API_ID

    def __init__(self, *arguments: Any, ids: Mapping[str, bytes], rack_id: str = "") -> None:
        super().__init__(*arguments, rack_id=rack_id)
        self._ids = ids

    def prepare(self, versions: dict[int, tuple[int, int]]) -> Any:
        _, newest = versions.get(_FETCH_API_ID, (0, 0))
        if newest < _FETCH_API_VERSION or any(topic not in self._ids for topic, _ in self._topics):
            return super().prepare(versions)
        topics: list[Any] = [
            (self._ids[topic], [(number, -1, offset, -1, -1, size, {}) for number, offset, size in partitions], {})
            for topic, partitions in self._topics
        ]
        return _FetchStruct(
            *(-1, self._max_wait_ms, self._min_bytes, self._max_bytes, self._isolation_level),
            *(0, -1, topics, [], self._rack_id, {}),
        )


class FetchedPartition(Struct, frozen=True, gc=False):
    """Part of a fetch reply that belongs to one partition."""

    topic: str
    number: int
    error_code: int
    aborted: list[tuple[int, int]] | None
    """Producer ids and first offsets of aborted transactions."""
    preferred_replica: int
    """Node to fetch from instead; -1: keep this node."""
    raw: bytes | None


def is_by_id(answer: Any) -> bool:
    """Tell whether the broker answered a fetch by topic ids: then no record is of another topic of the same name."""
    return bool(answer.API_VERSION >= _FETCH_API_VERSION)


def fetched_partitions(answer: Any, ids: Mapping[str, bytes]) -> Iterator[FetchedPartition]:
    """Yield the partitions of a reply to `IdentifiedFetchRequest`, of any version. `ids` as in the request."""
    if is_by_id(answer):
        names = {id: name for name, id in ids.items()}
        for id, partitions, _ in answer.topics:
            for number, code, _, _, _, aborted, replica, raw, _ in partitions:
                transactions = [(producer, first) for producer, first, _ in aborted or ()]
                yield FetchedPartition(names.get(id, ""), number, code, transactions, replica, raw)
        return
    has_rack = answer.API_VERSION >= _RACK_VERSION
    for topic, partitions in answer.topics:
        for number, code, _, _, *more in partitions:
            aborted, replica = (more[-3], more[-2]) if has_rack else (more[-2], -1)
            yield FetchedPartition(topic, number, code, aborted, replica, more[-1])
