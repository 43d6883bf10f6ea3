"""Replays of ranges: to another stream, into their own, after outages and failures."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import pytest
from msgspec.structs import replace as changed

from sidecar.adapters.brokers.memory.ledger import MemoryLedger
from sidecar.domain.errors import NotFoundError, Outage, Refused
from sidecar.domain.ports.ledger import LedgerOutcome, LedgerTransaction, LedgerWrite
from sidecar.domain.position import Partition
from sidecar.replay.models import EventRange, ReplayJob, ReplayRequest
from tests.support.conditions import until
from tests.support.replay import ANN, ended, shop


async def test_a_range_is_published_to_another_stream_once() -> None:
    async with shop(partitions=2) as one:
        one.harness.produce(*one.harness.good(700))
        one.harness.produce(*one.harness.good(30, start=1_000), partition=1)
        one.log.create("orders.copy", 2)
        sidecar = await one.sidecar()
        plan = await sidecar.plan(ReplayRequest(to="orders.copy", range=EventRange(stream="orders")))
        assert (plan.selected, plan.targets[0].count) == (730, 730)
        job = await ended(
            sidecar, await sidecar.replay(ReplayRequest(to="orders.copy", range=EventRange(stream="orders")), ANN)
        )
        assert (job.state, job.selected, job.published) == ("done", 730, 730)
        copies = one.contents("orders.copy")
        assert [r.value for r in copies] == [r.value for r in one.contents()]
        assert dict(copies[0].headers)["tracecar.replay-of"] == b"@memory://orders/0/0"
        matching = ReplayRequest(to="orders.copy", query='"e-1', range=EventRange(stream="orders"))
        assert (await ended(sidecar, await sidecar.replay(matching, ANN))).published == 141


@pytest.mark.parametrize("after", [False, True])
async def test_a_range_survives_outages_and_kills(after: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.replay.range_runner.MAX_RECORDS_PER_STEP", 10)
    monkeypatch.setattr("sidecar.replay.supervisor.RUNNER_LOST_AFTER_S", 0)
    async with shop() as one:
        one.harness.produce(*one.harness.good(100))
        one.log.create("orders.copy")
        first, second = await one.sidecar(), await one.sidecar()
        job = await first.replay(ReplayRequest(to="orders.copy", rate=200, range=EventRange(stream="orders")), ANN)
        first.broker.fail_next("act", Outage("cut", 0.01), after=after)
        await until(lambda: len(one.contents("orders.copy")) >= 30)
        for task in list(first._broker_replays[0].supervisor._tasks.values()):
            task.cancel()
        await asyncio.sleep(0)
        await second._broker_replays[0].supervisor.look()
        job = await ended(second, job)
        assert (job.state, job.published) == ("done", 100)
        assert [r.value for r in one.contents("orders.copy")] == [r.value for r in one.contents()]


async def test_a_range_goes_into_its_own_stream_only_with_a_confirmed_count() -> None:
    async with shop() as one:
        one.harness.produce(*one.harness.good(5))
        sidecar = await one.sidecar()
        request = ReplayRequest(to="orders", range=EventRange(stream="orders"))
        with pytest.raises(Refused, match="--into-itself"):
            await sidecar.replay(request, ANN)
        with pytest.raises(Refused, match="5 events would be published into orders again"):
            await sidecar.replay(ReplayRequest(to="orders", range=EventRange(stream="orders", into_itself=True)), ANN)
        with pytest.raises(Refused, match="4 events were confirmed, but there are 5"):
            await sidecar.replay(
                ReplayRequest(to="orders", range=EventRange(stream="orders", into_itself=True, confirmed=4)), ANN
            )
        job = await sidecar.replay(
            ReplayRequest(to="orders", range=EventRange(stream="orders", into_itself=True, confirmed=5)), ANN
        )
        assert (await ended(sidecar, job)).published == 5
        assert len(one.contents()) == 10
        with pytest.raises(NotFoundError, match="no watched stream"):
            await sidecar.replay(ReplayRequest(to="orders", range=EventRange(stream="secrets")), ANN)


async def test_a_range_is_what_the_dry_run_counted_although_events_arrive() -> None:
    async with shop(partitions=3) as one:
        one.harness.produce(*one.harness.good(5))
        one.harness.produce(*one.harness.good(2, start=10), partition=1)
        sidecar = await one.sidecar()
        request = ReplayRequest(to="orders", range=EventRange(stream="orders", into_itself=True))
        plan = await sidecar.plan(request)
        assert plan.range is not None
        for partition in range(3):
            one.harness.produce(*one.harness.good(4, start=20), partition=partition)
        confirmed = changed(request, range=changed(plan.range, confirmed=plan.selected))
        job = await ended(sidecar, await sidecar.replay(confirmed, ANN))
        assert (job.state, job.selected, job.published) == ("done", 7, 7)
        sent = [dict(r.headers)["tracecar.replay-of"] for r in one.replayed()]
        assert sorted(sent) == [b"@memory://orders/%d/%d" % at for at in [(0, n) for n in range(5)] + [(1, 0), (1, 1)]]


async def test_the_progress_of_a_range_is_deleted_once_no_job_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def left() -> set[str]:
        return {key for _, key in one.log.ledger if key.startswith("range:")}

    async with shop() as one:
        one.harness.produce(*one.harness.good(5))
        one.log.create("orders.copy")
        sidecar = await one.sidecar()
        jobs = sidecar._broker_replays[0].jobs
        request = ReplayRequest(to="orders.copy", range=EventRange(stream="orders"))
        first = await ended(sidecar, await sidecar.replay(request, ANN))
        orphans = await jobs.sweep(await jobs.all(), set())
        assert left() == {f"range:{first.id}"}, "a runner that was considered dead may still read it"
        await jobs.sweep(await jobs.all(), orphans)
        assert left() == set()

        # A failed job can be resumed and needs its progress, until the job is deleted.
        failed = ReplayJob(id="failed", request=request, by="ann", state="failed", started_at=1)
        await jobs.make(failed, [])
        await sidecar.broker.ledger.act([LedgerTransaction("orders.copy", (LedgerWrite("range:failed", None, b"{}"),))])
        for most in (2, 2, 2, 1):
            assert left() == {"range:failed"}
            monkeypatch.setattr("sidecar.replay.job_store.MAX_ENDED_JOBS", most)
            orphans = await jobs.sweep(await jobs.all(), orphans)
        assert "failed" not in await jobs.all()
        assert left() == set()


async def test_a_failed_range_reports_what_was_sent_and_how_to_continue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.replay.range_runner.MAX_RECORDS_PER_STEP", 10)
    act, calls = MemoryLedger.act, itertools.count()

    async def refuses(self: MemoryLedger, acts: Sequence[LedgerTransaction]) -> list[LedgerOutcome]:
        if acts[0].outgoing and next(calls) == 3:
            raise Refused("not authorized to write orders.copy")
        return await act(self, acts)

    monkeypatch.setattr(MemoryLedger, "act", refuses)
    async with shop() as one:
        one.harness.produce(*one.harness.good(45))
        one.log.create("orders.copy")
        sidecar = await one.sidecar()
        job = await ended(
            sidecar, await sidecar.replay(ReplayRequest(to="orders.copy", range=EventRange(stream="orders")), ANN)
        )
        assert (job.state, job.published) == ("failed", 30)
        assert job.note == (
            "not authorized to write orders.copy. 30 of 45 events were sent to orders.copy. Fix the problem, then run "
            f"tracecar replays resume {job.id}: it continues at memory://orders/0/30 and sends no event twice"
        )
        job = await ended(sidecar, await sidecar.resume(job.id, ANN))
        assert (job.state, job.published) == ("done", 45)
        assert [r.value for r in one.contents("orders.copy")] == [r.value for r in one.contents()]


async def test_events_of_a_range_that_were_deleted_are_reported() -> None:
    async with shop() as one:
        one.harness.produce(*one.harness.good(20))
        one.log.create("orders.copy")
        sidecar = await one.sidecar()
        job = await sidecar.replay(ReplayRequest(to="orders.copy", rate=1000, range=EventRange(stream="orders")), ANN)
        one.log.trim(Partition("memory", "orders", 0), 15)
        job = await ended(sidecar, job)
        assert (job.state, job.published, job.failed) == ("done", 5, 15)
        assert job.failures[0].why.startswith("15 of the 20 events that were counted at the start were not found again")
