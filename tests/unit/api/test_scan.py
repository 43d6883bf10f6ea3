"""Scans: the partition of a key, and scans that stay within the requested range."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from sidecar.adapters.brokers.memory.broker import MemoryBroker
from sidecar.adapters.brokers.memory.log import MemoryLog
from sidecar.api import models
from sidecar.api.services.scan import ScanProgress, ScanRequest, scan
from sidecar.domain.errors import QueryError
from sidecar.domain.model import Decoded, Record
from sidecar.domain.stream_names import StreamNames
from tests.support.api import order, serving


async def test_a_scan_keeps_to_times_and_bounds(tmp_path: Path) -> None:
    async with serving(tmp_path / "token") as sidecar:
        positions = [sidecar.publish(order(number)) for number in range(30)]
        records = [record for position in positions if (record := await sidecar.broker.read(position)) is not None]
        payloads = sidecar.payloads

        async def found(wish: ScanRequest, reach: ScanProgress) -> int:
            parts = [
                part
                async for part in scan(
                    [sidecar.broker], payloads, wish, reach, sidecar.services.events._visibility.allows
                )
            ]
            return sum(len(part.decoded) for part in parts)

        reach = ScanProgress()
        assert await found(ScanRequest(streams=frozenset(["orders"])), reach) == 30
        assert (reach.scanned, reach.complete) == (30, True)
        assert await found(ScanRequest(since=records[-1].timestamp + 1), ScanProgress()) == 0
        assert await found(ScanRequest(until=records[0].timestamp), ScanProgress()) == 0
        assert await found(ScanRequest(streams=frozenset(["payments"])), ScanProgress()) == 0
        short = ScanProgress()
        await found(ScanRequest(most_records=1), short)
        assert not short.complete
        assert "narrow" in short.notes[0]


async def test_a_scan_decodes_only_records_whose_headers_and_partition_can_match(tmp_path: Path) -> None:
    async with serving(tmp_path / "token") as sidecar:
        for number in range(20):
            sidecar.publish(order(number), headers=(("tenant", b"a" if number % 4 else b"b"),))
        opened: list[Record] = []
        open_payloads = sidecar.payloads.open

        async def note(records: Sequence[Record]) -> list[Decoded]:
            opened.extend(records)
            return await open_payloads(records)

        sidecar.payloads.open = note  # type: ignore[method-assign]

        async def run_scan(query: str) -> tuple[int, int | None, int]:
            opened.clear()
            items = [item async for item in sidecar.services.events.scan(query)]
            end = items[-1]
            assert isinstance(end, models.ScanEndModel)
            return end.matched or 0, end.scanned, len(opened)

        assert await run_scan("stream:orders header.tenant:b") == (5, 20, 5)
        assert await run_scan("stream:orders -header.tenant:b") == (15, 20, 15)
        assert await run_scan("stream:orders header.tenant:b OR type:*") == (20, 20, 20)
        assert await run_scan("stream:ord* -stream:orders header.tenant:b") == (0, 0, 0)


async def test_a_scan_by_key_refuses_brokers_without_keys(tmp_path: Path) -> None:
    keyless = MemoryBroker(MemoryLog(), [], "shop", StreamNames("{stream}.dlt", service="shop", group="shop"))
    keyless.traits = msgspec.structs.replace(keyless.traits, keyed=False)
    async with serving(tmp_path / "token") as sidecar:
        sidecar.publish(order(1))
        allows = sidecar.services.events._visibility.allows
        request, progress = ScanRequest(key=b"o-1"), ScanProgress()
        with pytest.raises(QueryError, match="have no keys: search for an id"):
            _ = [part async for part in scan([keyless], sidecar.payloads, request, progress, allows)]
        brokers = [keyless, sidecar.broker]
        assert [part async for part in scan(brokers, sidecar.payloads, request, progress, allows)]
        assert "was not read" in progress.notes[0]
