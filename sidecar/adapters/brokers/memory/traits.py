"""Properties of the broker in memory: a partitioned log, like Kafka's."""

from __future__ import annotations

from sidecar.domain.broker_traits import BrokerTraits

MEMORY_TRAITS = BrokerTraits(
    scheme="memory",
    position_form="",
    source_path="sources.memory",
    streams_path="sources.memory.streams",
)
