"""Helpers for tests of the Kafka broker: records, a started reader, a commit that may fail."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

from sidecar.adapters.brokers.kafka.broker import KafkaBroker
from sidecar.domain.errors import Outage
from sidecar.domain.model import Outgoing
from sidecar.domain.ports.broker import Batch
from tests.contracts.batch_reader import Reader


def records_of(topic: str, values: Sequence[bytes], partition: int = 0) -> list[Outgoing]:
    """Build records with these values and neither keys nor headers."""
    return [Outgoing(topic, None, value, (), partition=partition) for value in values]


async def start_reader(broker: KafkaBroker, stack: AsyncExitStack) -> Reader:
    """Start a broker, and read its batches until the stack is closed."""
    await broker.start()
    return await stack.enter_async_context(Reader(broker))


async def commit_succeeds(broker: KafkaBroker, batches: Sequence[Batch], letters: Sequence[Outgoing]) -> bool:
    """Commit, and return False after an outage."""
    try:
        await broker.commit(batches, letters)
    except Outage:
        return False
    return True
