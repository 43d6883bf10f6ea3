"""Events of an aggregate with their payloads: the documents that reducers get, and the numbers that order them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sidecar.api.mappers.events import EventMapper
from sidecar.api.mappers.payload import ReadPayload
from sidecar.api.services.aggregates.replay_order import AggregateEvent
from sidecar.api.services.aggregates.sequence import Numbers, SequenceReader
from sidecar.api.services.payloads import PayloadReader
from sidecar.domain.aggregate_fold import ReducerEvent
from sidecar.domain.bounded_cache import BoundedCache
from sidecar.domain.large_records import run_for_record
from sidecar.domain.ports.index import Node
from sidecar.domain.position import Position

PAYLOADS_PER_READ = 256
MAX_KEPT_BYTES = 32 << 20
"""Bytes of payloads that one question keeps, so that they are not read twice."""
MAX_REMEMBERED_EVENTS = 200_000
"""Events with numbers that are remembered between questions."""

_EventIdentity = tuple[Position, int]


class DocumentReader:
    """Reads the payloads of events, redacts them, and remembers the numbers that they carry."""

    def __init__(self, payloads: PayloadReader, mapper: EventMapper, sequence: SequenceReader) -> None:
        self._payloads, self._mapper, self._sequence = payloads, mapper, sequence
        self._numbers: BoundedCache[_EventIdentity, Numbers] = BoundedCache(MAX_REMEMBERED_EVENTS)

    async def read_numbers(self, nodes: Sequence[Node], kept: DocumentWindow) -> list[AggregateEvent]:
        """Return the events with their numbers, reading the payloads of events that are not remembered."""
        numbers = {node.event.position: self._numbers.find(_identity(node)) for node in nodes}
        unknown = [node for node in nodes if numbers[node.event.position] is None]
        unread: dict[Position, str] = {}
        for start in range(0, len(unknown), PAYLOADS_PER_READ):
            part = unknown[start : start + PAYLOADS_PER_READ]
            for node, document in zip(part, await self._read(part, kept), strict=True):
                position = node.event.position
                if isinstance(document, str):
                    unread[position], numbers[position] = document, ()
                else:
                    values = self._sequence.numbers(document["headers"], document["body"])
                    numbers[position] = self._numbers[_identity(node)] = values
        return [
            AggregateEvent(node, numbers[node.event.position] or (), unread.get(node.event.position)) for node in nodes
        ]

    async def documents(self, events: Sequence[AggregateEvent], kept: DocumentWindow) -> list[ReducerEvent | str]:
        """Return the document of each event; for an event that cannot be read now, a sentence with the reason."""
        missing = [event.node for event in events if event.event.position not in kept.documents]
        read = dict(
            zip([node.event.position for node in missing], await self._read(missing, DocumentWindow()), strict=True)
        )
        result: list[ReducerEvent | str] = []
        for event in events:
            position = event.event.position
            document = kept.documents.get(position) or read[position]
            result.append(document if isinstance(document, str) else ReducerEvent(str(position), dict(document)))
        return result

    async def _read(self, nodes: Sequence[Node], kept: DocumentWindow) -> list[Mapping[str, Any] | str]:
        if not nodes:
            return []
        documents: list[Mapping[str, Any] | str] = []
        payloads = self._payloads.each([node.event.position for node in nodes])
        for node in nodes:
            payload = await anext(payloads)
            document = await run_for_record(payload.record, self._document, node, payload)
            if not isinstance(document, str) and payload.decoded is not None:
                kept.keep(node.event.position, document, len(payload.decoded.record.value or b"") + 500)
            documents.append(document)
        return documents

    def _document(self, node: Node, payload: ReadPayload) -> Mapping[str, Any] | str:
        """Build the document of an event, or say why it has no body."""
        if payload.decoded is None:
            return payload.note or "its payload cannot be read"
        if payload.decoded.event.digest != node.event.digest:
            return "the record at its position is another one: the stream was created again"
        if payload.decoded.body is None:
            is_empty = payload.decoded.record.value is None
            return "it has no body (a tombstone)" if is_empty else "its body cannot be decoded"
        document = self._mapper.document(node, payload.decoded)
        return document if isinstance(document["body"], Mapping) else "its body is no object"


class DocumentWindow:
    """Cache of the documents that one request reads, bounded in bytes."""

    def __init__(self) -> None:
        self.documents: dict[Position, Mapping[str, Any]] = {}
        self._bytes = 0

    def keep(self, position: Position, document: Mapping[str, Any], size: int) -> None:
        if self._bytes + size <= MAX_KEPT_BYTES:
            self.documents[position] = document
            self._bytes += size


def _identity(node: Node) -> _EventIdentity:
    return node.event.position, node.event.appended_at
