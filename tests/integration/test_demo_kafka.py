"""The demo on a real Apache Kafka."""

from __future__ import annotations

import pytest

from tests.support import demo_process

pytestmark = pytest.mark.kafka


async def test_the_sidecar_finds_what_the_shop_has_published() -> None:
    demo_process.check(await demo_process.summary("--broker", "kafka", "--seconds", "8"), broker="kafka", orders=32)
