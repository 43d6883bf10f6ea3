"""The harness that an adapter provides to the broker contract, and helpers that publish records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from sidecar.config.schema import Config, SourcesConfig
from sidecar.config.value_types import StartPosition
from sidecar.domain.model import Outgoing, Record
from sidecar.domain.ports.broker import Broker
from sidecar.domain.position import Partition, Position
from sidecar.domain.stream_names import StreamNames

EARLIEST, LATEST = StartPosition("earliest"), StartPosition("latest")


class BrokerHarness(ABC):
    """Creates brokers of one system, and acts on its server as other programs do."""

    system: str
    partitioned = True
    """True if a stream can have several partitions, each owned by one member; else members share a stream."""
    keyed = True
    """True if records can have keys, null values without headers, and null header values."""
    trims = True
    """True if records can be trimmed, and the broker reports those trimmed before they were read."""

    def naming(self, group: str) -> StreamNames:
        return Config(service="contract", sources=SourcesConfig()).stream_names(group)

    def pattern(self, prefix: str) -> str:
        """Return a pattern that matches every stream with this prefix."""
        return f"{prefix}*"

    @abstractmethod
    def broker(self, *streams: str, group: str, start: StartPosition = EARLIEST, max_records: int = 1000) -> Broker:
        """Create a broker that is not started. The harness closes it after the test."""

    @abstractmethod
    def unreachable(self) -> Broker:
        """Create a broker without a reachable server."""

    @abstractmethod
    async def create(self, stream: str, partitions: int = 1) -> None: ...

    @abstractmethod
    async def produce(self, records: Sequence[Outgoing]) -> list[Position]:
        """Publish to existing streams, as another program does."""

    @abstractmethod
    async def contents(self, stream: str) -> list[Record]:
        """Return the committed records of a stream by partition and offset; empty if the stream does not exist."""

    @abstractmethod
    async def crash(self, broker: Broker) -> None:
        """End this broker like `kill -9` of its process, so that its group drops it within seconds."""

    @abstractmethod
    async def trim(self, partition: Partition, before: int) -> None:
        """Delete the records before this offset."""

    async def too_large(self) -> bytes | None:
        """Return a value that the server refuses from now on, or None if it has no limit."""
        return None


def outgoing(stream: str, value: bytes | None, *headers: tuple[str, bytes | None], **more: object) -> Outgoing:
    return Outgoing(stream=stream, key=more.pop("key", None), value=value, headers=headers, **more)  # type: ignore[arg-type]


async def produce_numbered(harness: BrokerHarness, stream: str, count: int, first: int = 0) -> list[Position]:
    """Publish records with the numbers from `first` to `count` - 1 as value and header `n`."""
    records = [outgoing(stream, str(n).encode(), ("n", str(n).encode()), partition=0) for n in range(first, count)]
    return await harness.produce(records)
