"""`tracecar check` for Kafka: every connection and permission that running needs, each in a line. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable

from sidecar import config
from sidecar.brokers.kafka_cluster import Cluster
from sidecar.brokers.kafka_options import Connecting
from sidecar.dead_letters.naming import Naming
from sidecar.errors import TracecarError
from sidecar.ports import Finding


async def inspect(
    connecting: Connecting, kafka: config.Kafka, group: str, naming: Naming, wants: Callable[[str], bool]
) -> list[Finding]:
    cluster = Cluster(connecting)
    try:
        await cluster.start()
    except TracecarError as error:
        await cluster.close()
        return [Finding("sources.kafka: connect", False, str(error))]
    await cluster.close()
    return [Finding("sources.kafka: connect", True, "reached")]
