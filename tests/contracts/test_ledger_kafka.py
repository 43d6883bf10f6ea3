"""The ledger contract on a real Kafka."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sidecar.demo.embedded_kafka import EmbeddedKafka
from tests.contracts.ledger_contract import LedgerContract
from tests.contracts.test_broker_kafka import KafkaHarness

pytestmark = pytest.mark.kafka


class TestKafkaLedger(LedgerContract):
    @pytest.fixture
    async def harness(self, kafka: EmbeddedKafka) -> AsyncIterator[KafkaHarness]:
        harness = KafkaHarness(kafka.bootstrap_servers)
        yield harness
        await harness.close()
