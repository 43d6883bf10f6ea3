"""Runners of replay jobs: takeovers, races, rates, memory, streams that cannot be written."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from sidecar.adapters.brokers.memory.broker import MemoryBroker
from sidecar.adapters.brokers.memory.ledger import MemoryLedger
from sidecar.adapters.brokers.memory.log import MemoryGroup
from sidecar.dead_letters.grouping import affected_aggregate
from sidecar.dead_letters.store import DeadLetterFilter
from sidecar.domain.errors import Outage
from sidecar.domain.model import Outgoing
from sidecar.domain.ports.ledger import LedgerOutcome, LedgerTransaction, LedgerWrite
from sidecar.domain.position import Partition
from sidecar.replay.models import ReplayJob, ReplayRequest
from sidecar.replay.selection import select
from sidecar.replay.supervisor import has_died, runner_name
from tests.support.conditions import until
from tests.support.replay import ANN, Shop, ended, shop, states
from tests.support.replay_jobs import ledger_job, replace_context, supervisor

pytestmark = pytest.mark.usefixtures("short_intervals")


def write(one: Shop, job: ReplayJob) -> None:
    one.log.ledger[None, f"job:{job.id}"] = msgspec.json.encode(job)


async def test_a_stopping_sidecar_hands_its_jobs_over() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(30))
        sidecar, other = await one.sidecar(), await one.sidecar()
        job = await sidecar.replay(ReplayRequest(again=True, rate=20), ANN)
        await until(lambda: one.replayed())
        await sidecar.close()
        assert ledger_job(one, job.id).runner == ""
        await supervisor(other).look()
        await other.cancel(job.id, ANN)


async def test_a_letter_sent_by_another_runner_of_the_job_counts_as_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other runner was considered dead, and its write arrives just before ours."""
    act, raced = MemoryLedger.act, list[int]()

    async def race(self: MemoryLedger, acts: Sequence[LedgerTransaction]) -> list[LedgerOutcome]:
        if acts[0].outgoing and not raced:
            raced.append(1)
            theirs = []
            for one in acts:
                stamped = (one.entries[0].after or b"").replace(b'"at":', b'"at":1')
                entries = tuple(LedgerWrite(entry.key, entry.before, stamped) for entry in one.entries)
                theirs.append(LedgerTransaction(one.stream, entries, one.outgoing))
            await act(self, theirs)
        return await act(self, acts)

    monkeypatch.setattr(MemoryLedger, "act", race)
    async with shop() as one:
        await one.letters(*one.harness.bad(5))
        sidecar = await one.sidecar()
        job = await ended(sidecar, await sidecar.replay(ReplayRequest(again=True), ANN))
        assert len({r.value for r in one.replayed()}) == len(one.replayed()) == 5
        assert (job.published, job.skipped) == (5, 0)


async def test_a_forced_replay_that_dies_does_not_repeat_a_later_forced_replay() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(1))
        one.log.create("elsewhere")
        sidecar, request = await one.sidecar(), ReplayRequest(to="elsewhere", force=True)
        first = await ended(sidecar, await sidecar.replay(request, ANN))
        await ended(sidecar, await sidecar.replay(request, ANN))
        assert len(one.replayed("elsewhere")) == 2
        # The runner died before it recorded that it had sent the letter.
        write(one, replace(first, state="running", at=0, published=0, runner="", ended_at=None))
        other = await one.sidecar()
        await supervisor(other).look()
        again = await ended(other, first)
        assert (again.published, len(one.replayed("elsewhere"))) == (1, 2)


async def test_a_replay_waits_while_consumption_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(4))
        group = one.log.groups["billing"] = MemoryGroup()
        group.committed[Partition("memory", "orders", 0)] = 0
        sidecar = await one.sidecar()
        job = await sidecar.replay(ReplayRequest(rate=2), ANN)
        await sidecar.close()
        groups = MemoryBroker.groups

        async def cut(self: MemoryBroker) -> Any:
            raise Outage("cut", 0.01)

        monkeypatch.setattr(MemoryBroker, "groups", cut)
        other = await one.sidecar()  # it has not read the groups' offsets yet
        await supervisor(other).look()
        await until(
            lambda: (
                "it is unknown whether a group has consumed"
                in (supervisor(other).current(ledger_job(one, job.id)).note or "")
            )
        )
        monkeypatch.setattr(MemoryBroker, "groups", groups)
        job = await ended(other, job)
        assert (job.published, job.skipped, job.note) == (4, 0, None)


async def test_a_rate_is_kept_after_an_outage() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(60))
        sidecar = await one.sidecar()
        job = await sidecar.replay(ReplayRequest(again=True, rate=20), ANN)
        await until(lambda: one.replayed())
        keeping = supervisor(sidecar)._runners[job.id]._job_progress
        keeping._next_slot -= 60  # as if nothing could be sent for a minute
        began, before = asyncio.get_running_loop().time(), len(one.replayed())
        await until(lambda: len(one.replayed()) >= before + 35)
        assert asyncio.get_running_loop().time() - began > 0.2
        await sidecar.cancel(job.id, ANN)


def test_dead_runners_are_recognized() -> None:
    me = runner_name()
    host = me.rpartition(":")[0].rpartition(":")[0]
    assert has_died(f"{host}:{os.getpid()}:before", me)
    assert not has_died(f"{host}:{os.getppid()}:x", me)
    for strange in (f"{host}:\u00b2:x", f"{host}:{10**30}:x", "", ":", f"elsewhere:{os.getpid()}:x"):
        assert not has_died(strange, me)


def test_containers_with_one_host_name_are_distinguished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.readlink", lambda path: "pid:[1]")
    one = runner_name()
    monkeypatch.setattr("os.readlink", lambda path: "pid:[2]")
    assert not has_died(one, runner_name())


async def test_a_step_is_bounded_in_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    act, most = MemoryLedger.act, [0]

    async def weighed(self: MemoryLedger, acts: Sequence[LedgerTransaction]) -> list[LedgerOutcome]:
        most[0] = max(most[0], sum(len(one.value or b"") for each in acts for one in each.outgoing))
        return await act(self, acts)

    monkeypatch.setattr(MemoryLedger, "act", weighed)
    async with shop() as one:
        bodies = [{"eventId": f"e-{n}", "qty": "x" * (300_000 if n >= 100 else 3)} for n in range(180)]
        await one.letters(*bodies)
        sidecar = await one.sidecar()
        job = await ended(sidecar, await sidecar.replay(ReplayRequest(again=True), ANN))
        assert (job.published, job.failed) == (180, 0)
        assert [r.value for r in one.replayed()] == [r.value for r in one.contents()[:180]]
        assert most[0] < 9 << 20


async def test_an_unwritable_stream_fails_its_letters_and_only_unwritable_streams_the_job() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(2))
        sidecar = await one.sidecar()
        for stream in ("gone", "missing"):
            headers = (
                ("tracecar.dead-letter-id", f"shop@memory://{stream}/0/1".encode()),
                ("tracecar.origin", f"memory://{stream}/0/1".encode()),
                ("tracecar.code", b"reported.error"),
            )
            one.log.append(Outgoing("orders.dlt", None, b"v", headers))

        async def all_in_sight(system: str, stream: str) -> bool:
            return True

        sidecar._broker_replays[0].context = replace_context(sidecar, in_sight=all_in_sight)
        job = await ended(sidecar, await sidecar.replay(ReplayRequest(again=True), ANN))
        assert (job.state, job.published, job.failed) == ("done", 2, 2)
        assert "there is no stream gone" in job.failures[0].why
        # Letters that were sent may have failed again by now.
        job = await ended(sidecar, await sidecar.replay(ReplayRequest(query="code:reported.*", again=True), ANN))
        assert (job.state, job.published, job.failed) == ("failed", 0, 0)
        assert "there is no stream gone" in (job.note or "")


async def test_a_selection_keeps_few_bytes_of_each_letter() -> None:
    async with shop() as one:
        facts = {
            "dead-letter-id": b"billing@memory://orders/0/7",
            "origin": b"memory://orders/0/7",
            "code": b"reported.error",
            "message": b"m" * 2_000,
            "stacktrace": b"s" * 8_000,
            "path": b"p" * 8_000,
        }
        headers = tuple((f"tracecar.{name}", value) for name, value in facts.items())
        one.log.append(Outgoing("orders.dlt", b"order-7", b"v" * 10_000, headers))
        sidecar = await one.sidecar()
        selection = await select(sidecar.desk, DeadLetterFilter(), (), most=10)
        (candidate,) = selection.candidates
        assert affected_aggregate(candidate.letter) == "order-7", "later events of the same key are warned of"
        assert len(msgspec.json.encode(candidate)) < 1_500


async def test_skipped_letters_are_counted_beyond_those_remembered(monkeypatch: Any) -> None:
    monkeypatch.setattr("sidecar.replay.selection.MAX_LEFT_OUT_KEYS", 3)
    async with shop() as one:
        await one.letters(*one.harness.bad(10))
        one.log.create("elsewhere")
        sidecar = await one.sidecar()
        await ended(sidecar, await sidecar.replay(ReplayRequest(to="elsewhere"), ANN))
        again = await ended(sidecar, await sidecar.replay(ReplayRequest(to="elsewhere"), ANN))
        assert again.reasons == {"was replayed already": 10}


async def test_letters_of_one_origin_share_one_state() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(1))
        first = one.harness.letters()[0]
        headers = {**dict(first.headers), "tracecar.dead-letter-id": b"tracecar.billing@memory://orders/0/0"}
        one.log.append(Outgoing("orders.dlt", first.key, first.value, tuple(headers.items())))
        sidecar = await one.sidecar()
        job = await ended(sidecar, await sidecar.replay(ReplayRequest(again=True), ANN))
        assert job.published == 1
        await until(lambda: len(one.harness.letters()) == 3)
        assert await states(sidecar) == {"0": "returned", "1": "open"}
        found = await sidecar.desk.groups(DeadLetterFilter(by_later_lives=True))
        assert sum(cause.states.get("returned", 0) for cause in found.causes) == 1
        forced = await ended(sidecar, await sidecar.replay(ReplayRequest(again=True, force=True), ANN))
        assert forced.published == 1, "a returned letter is not sent again: its later letter replaces it"
