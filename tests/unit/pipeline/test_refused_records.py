"""Records that a broker refuses: a gate continues, an operator can always skip, and every loss is reported."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence

import pytest

from sidecar.domain.errors import RecordRefused, Refused
from sidecar.domain.model import Outgoing
from sidecar.domain.ports.broker import Batch
from sidecar.domain.position import Position
from tests.support.conditions import until
from tests.support.pipeline import Harness, harness


def refuse(one: Harness, monkeypatch: pytest.MonkeyPatch, what: Callable[[Outgoing], bool], error: Refused) -> None:
    """Let the broker refuse every commit that publishes this record."""
    commit = one.broker.commit

    async def picky(batches: Sequence[Batch], outgoing: Sequence[Outgoing]) -> None:
        if any(what(each) for each in outgoing):
            raise error
        await commit(batches, outgoing)

    monkeypatch.setattr(one.broker, "commit", picky)


async def test_a_record_that_is_too_large_for_the_stream_behind_a_gate_is_dead_lettered() -> None:
    async with harness(gate={"orders": "checked"}).running() as one:
        one.log.max_bytes = 1000
        one.produce(*one.good(3), {"eventId": "x" * 5000, "qty": 1}, *one.good(3, 4))
        await until(lambda: one.committed() == 7, "committing")
        (letter,) = one.letters()
        headers = dict(letter.headers)
        assert (letter.value, headers["tracecar.omitted"]) == (None, b"body")
        assert (headers["tracecar.code"], headers["tracecar.origin"]) == (b"delivery.refused", b"memory://orders/0/3")
        passed = [dict(json.loads(record.value or b""))["eventId"] for record in one.log.streams["checked"][0].records]
        assert passed == [f"e-{number}" for number in (0, 1, 2, 4, 5, 6)]
        rejection = one.shown.events[Position("memory", "orders", 0, 3)].rejection
        assert rejection is not None
        assert rejection.code == "delivery.refused"
        assert one.counters.of("memory", "orders").dead_lettered == one.counters.total_rejected() == 1


async def test_a_record_that_the_stream_behind_a_gate_refuses_is_found_and_dead_lettered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = harness(gate={"orders": "checked"})
    refuse(
        one, monkeypatch, lambda each: each.stream == "checked" and b"e-7" in (each.value or b""), RecordRefused("87")
    )
    one.produce(*one.good(20))
    async with one.running():
        await until(lambda: one.committed() == 20, "committing")
        assert one.held() is None
        assert one.origins() == ["memory://orders/0/7"]
        passed = [json.loads(record.value or b"")["eventId"] for record in one.log.streams["checked"][0].records]
        assert passed == [f"e-{number}" for number in range(20) if number != 7]


@pytest.mark.parametrize("count", [1, 9, 400])
async def test_skipping_always_works_and_reports_its_losses(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    one = harness(gate={"orders": "checked"})
    refuse(one, monkeypatch, lambda each: each.stream == "orders.dlt", Refused("no ACL for WRITE on orders.dlt"))
    one.produce(*one.good(3), *one.bad(count, 3), *one.good(3, 3 + count))
    async with one.running():
        await until(lambda: one.held() == "letters", "the hold")
        held = one.pipeline.find_hold("orders")
        assert held is not None
        assert "tracecar streams skip orders" in held.hold.reason
        lost: set[Position] = set()
        while one.committed() < count + 6:
            lost |= {*(await one.pipeline.skip("orders")).lost}
            await asyncio.sleep(0.01)
        assert one.letters() == []
        refused = {Position("memory", "orders", 0, 3 + number) for number in range(count)}
        passed = [json.loads(record.value or b"")["eventId"] for record in one.log.streams["checked"][0].records]
        assert refused <= lost
        assert len(lost) + len(passed) == count + 6
        assert passed == sorted(passed, key=lambda id: int(id[2:]))
        if count < 10:
            assert lost == refused


async def test_an_offset_that_is_refused_cannot_be_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    one = harness()

    async def refused(batches: Sequence[Batch], outgoing: Sequence[Outgoing]) -> None:
        raise Refused("no ACL for READ on the group")

    monkeypatch.setattr(one.broker, "commit", refused)
    one.produce(*one.bad(2))
    async with one.running():
        await until(lambda: one.held() == "letters", "the hold")
        with pytest.raises(Refused, match="READ on the group"):
            await one.pipeline.skip("orders")
        assert one.held() == "letters"
        monkeypatch.undo()
        await one.pipeline.resume("orders")
        await until(lambda: one.committed() == 2, "committing")
        assert len(one.letters()) == 2
