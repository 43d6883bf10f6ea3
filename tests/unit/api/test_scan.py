"""Scans: the partition of a key, and scans that stay within the requested range."""

from __future__ import annotations

from pathlib import Path

from sidecar.api.services.scan import ScanProgress, ScanRequest, scan
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
