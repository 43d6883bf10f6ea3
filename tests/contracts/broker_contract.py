"""The contract of every broker (`sidecar.domain.ports.broker.Broker`), as tests.

An adapter's test module subclasses `BrokerContract` and provides a fixture `harness`. The same tests then run on the
in-memory broker and on the real servers.
"""

from __future__ import annotations

import uuid

import pytest

from tests.contracts.broker_cancellation import BrokerCancellationContract
from tests.contracts.broker_commit_contract import BrokerCommitContract
from tests.contracts.broker_delivery_contract import BrokerDeliveryContract
from tests.contracts.broker_harness import BrokerHarness
from tests.contracts.broker_lookup_contract import BrokerLookupContract


class BrokerContract(BrokerDeliveryContract, BrokerCommitContract, BrokerLookupContract, BrokerCancellationContract):
    """Every promise of the port."""

    @pytest.fixture
    async def harness(self) -> BrokerHarness:
        raise NotImplementedError("an adapter's test module provides this fixture")

    @pytest.fixture
    def stream(self) -> str:
        return f"orders-{uuid.uuid4().hex[:12]}"

    @pytest.fixture
    def group(self) -> str:
        return f"tracecar.{uuid.uuid4().hex[:12]}"
