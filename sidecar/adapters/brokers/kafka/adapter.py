"""Kafka's adapter for the composition root."""

from __future__ import annotations

from sidecar.adapters.brokers.kafka.traits import KAFKA_TRAITS
from sidecar.adapters.brokers.source import BrokerSource, single_server
from sidecar.config.schema import Config


class KafkaAdapter:
    """`sidecar.adapters.brokers.source.BrokerAdapter` for Kafka."""

    traits = KAFKA_TRAITS

    def build_source(self, config: Config, *, max_records: int) -> BrokerSource | None:
        kafka = config.sources.kafka
        if kafka is None:
            return None
        from sidecar.adapters.brokers.kafka.broker import KafkaBroker

        group = kafka.group_id or f"tracecar.{config.service}"
        naming = config.stream_names(group)
        entries = config.dead_letters.ledger_entries
        return BrokerSource(
            KafkaBroker(kafka, config.service, naming, max_records=max_records, ledger_entries=entries),
            group,
            naming,
            gate=kafka.gate,
            start=kafka.start,
            server=single_server(f"//{kafka.bootstrap_servers}", 9092),
        )
