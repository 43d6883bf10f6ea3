"""Replay jobs: each letter is sent once and unchanged, also after crashes and with other operators at work."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest

from sidecar.adapters.brokers.memory.ledger import MemoryLedger
from sidecar.adapters.brokers.memory.log import MemoryGroup
from sidecar.api.mappers.replays import replay as show_replay
from sidecar.domain.errors import NotFoundError, Outage, Refused
from sidecar.domain.model import Outgoing
from sidecar.domain.ports.broker import Retention
from sidecar.domain.ports.ledger import LedgerOutcome, LedgerTransaction
from sidecar.domain.position import Partition
from sidecar.domain.redaction import Redactor
from sidecar.replay.models import BodyEdit, EventRange, ReplayRequest
from sidecar.replay.record_builder import SERIALIZED_AGAIN
from sidecar.replay.selection import SKIP_REASONS
from tests.support.conditions import until
from tests.support.dead_letters import spring
from tests.support.pipeline import GROUP
from tests.support.replay import ANN, ended, shop, states

MENDED = BodyEdit(set={"body": '{"eventId": "e-1", "qty": 1}'})
"""An edit after which the event is accepted: it does not come back as another letter."""


async def test_each_letter_is_sent_once_unchanged_and_in_order() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(30))
        sidecar = await one.sidecar()
        before = one.contents()[:30]
        job = await ended(sidecar, await sidecar.replay(ReplayRequest(again=True), ANN))
        assert (job.state, job.selected, job.published, job.failed, job.skipped) == ("done", 30, 30, 0, 0)
        sent = one.replayed()
        assert [(r.key, r.value, r.headers[:1]) for r in sent] == [(r.key, r.value, r.headers) for r in before]
        assert [r.timestamp for r in sent] == [r.timestamp for r in before]
        assert [dict(r.headers)["tracecar.replay-of"] for r in sent] == [
            f"tracecar.shop@{r.position}".encode() for r in before
        ]
        assert {dict(r.headers)["tracecar.replay-id"] for r in sent} == {job.id.encode()}
        assert {dict(r.headers)["tracecar.replay-attempt"] for r in sent} == {b"1"}


async def test_replayed_letters_are_not_sent_again_unless_forced() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(3))
        sidecar = await one.sidecar()
        await ended(sidecar, await sidecar.replay(ReplayRequest(query="code:*", again=True, edit=MENDED), ANN))
        again = await ended(sidecar, await sidecar.replay(ReplayRequest(again=True), ANN))
        assert (again.state, again.selected, again.published) == ("done", 0, 0)
        assert again.reasons == {"was replayed already": 3}
        forced = await ended(sidecar, await sidecar.replay(ReplayRequest(again=True, force=True), ANN))
        assert forced.published == 3


async def test_a_repeated_failure_is_linked_and_parked_after_its_last_attempt() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(1))
        sidecar = await one.sidecar()
        for attempt in range(2, 7):
            job = await ended(sidecar, await sidecar.replay(ReplayRequest(again=True), ANN))
            assert job.published == 1
            await until(lambda: len(one.harness.letters()) == attempt)  # noqa: B023
        found = await sidecar.desk.newest(0)
        assert [one.state for one in found.letters] == ["parked"] + ["returned"] * 5
        assert [one.letter.attempts for one in found.letters] == [6, 5, 4, 3, 2, 1]
        assert found.letters[1].returned_as == found.letters[0].letter.id
        assert found.letters[0].letter.replay_of == found.letters[1].letter.id
        last = await ended(sidecar, await sidecar.replay(ReplayRequest(again=True), ANN))
        assert (last.selected, last.reasons["is parked: it was replayed the maximum number of times"]) == (0, 1)
        # The headers of the record do not grow with each replay.
        assert len({len(record.headers) for record in one.replayed()}) == 1
        # A discard by query includes the parked letter and leaves those that returned.
        outcomes = (await sidecar.discard_found("code:schema.mismatch", "it cannot be repaired", ANN)).outcomes
        assert [(one.id, one.done, one.state) for one in outcomes] == [(found.letters[0].letter.id, True, "discarded")]
        (restored,) = await sidecar.restore([found.letters[0].letter.id], ANN)
        assert restored.done


async def test_the_selection_is_frozen_at_the_start() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(5))
        sidecar = await one.sidecar()
        job = await sidecar.replay(ReplayRequest(again=True, rate=20), ANN)
        await one.letters(*one.harness.bad(5, start=5))
        job = await ended(sidecar, job)
        assert (job.selected, job.published) == (5, 5)


async def test_two_sidecars_asked_at_once_send_each_letter_once() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(200))
        first, second = await one.sidecar(), await one.sidecar()
        jobs = await asyncio.gather(
            first.replay(ReplayRequest(again=True), ANN), second.replay(ReplayRequest(again=True), ANN)
        )
        done = [await ended(sidecar, job) for sidecar, job in zip((first, second), jobs, strict=True)]
        assert [job.state for job in done] == ["done", "done"]
        assert sum(job.published for job in done) == 200
        assert len({r.value for r in one.replayed()}) == len(one.replayed()) == 200


@pytest.mark.parametrize("after", [False, True])
async def test_an_outage_neither_repeats_nor_skips_letters(after: bool) -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(20))
        sidecar = await one.sidecar()
        job = await sidecar.replay(ReplayRequest(again=True), ANN)
        for _ in range(3):
            sidecar.broker.fail_next("act", Outage("cut", 0.01), after=after)
        job = await ended(sidecar, job)
        assert (job.state, job.published) == ("done", 20)
        assert len({r.value for r in one.replayed()}) == len(one.replayed()) == 20


async def test_another_sidecar_continues_a_killed_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    act = MemoryLedger.act

    async def slowly(self: MemoryLedger, acts: Sequence[LedgerTransaction]) -> list[LedgerOutcome]:
        done = await act(self, acts)
        await asyncio.sleep(0.02)  # written, and not answered yet
        return done

    monkeypatch.setattr(MemoryLedger, "act", slowly)
    monkeypatch.setattr("sidecar.replay.runner.FIRST_STEP_LETTERS", 3)
    monkeypatch.setattr("sidecar.replay.runner.MAX_LETTERS_PER_STEP", 3)
    monkeypatch.setattr("sidecar.replay.supervisor.RUNNER_LOST_AFTER_S", 0)
    async with shop() as one:
        await one.letters(*one.harness.bad(30))
        for kills in itertools.count():
            sidecar = await one.sidecar()
            if kills == 0:
                job = await sidecar.replay(ReplayRequest(again=True), ANN)
            else:
                await sidecar._broker_replays[0].supervisor.look()
            sent = len(one.replayed())
            if sent >= 30:
                break
            await until(lambda: len(one.replayed()) > sent)  # noqa: B023
            for task in list(sidecar._broker_replays[0].supervisor._tasks.values()):
                task.cancel()  # like a kill: no job is handed over
            await asyncio.sleep(0)
        assert kills >= 5
        job = await ended(sidecar, job)
        assert (job.state, job.published, job.selected) == ("done", 30, 30)
        assert [r.value for r in one.replayed()] == [r.value for r in one.contents()[:30]]


@pytest.mark.parametrize("act", ["pause", "cancel"])
async def test_pause_and_cancel_return_the_number_sent(act: str) -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(12))
        sidecar = await one.sidecar()
        job = await sidecar.replay(ReplayRequest(again=True, rate=20), ANN)
        await until(lambda: len(one.replayed()) >= 2)
        told = await getattr(sidecar, act)(job.id, ANN)
        assert told.state in ("paused", "cancelled")
        assert told.published == len(one.replayed()) == (await sidecar.job(job.id)).published


async def test_pausing_cancelling_and_resuming_at_another_sidecar() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(12))
        first, second = await one.sidecar(), await one.sidecar()
        job = await first.replay(ReplayRequest(again=True, rate=10), ANN)
        await until(lambda: len(one.replayed()) >= 2)
        paused = await second.pause(job.id, ANN)
        assert (paused.state, paused.changed_by) == ("paused", "ann")
        await until(lambda: not first._broker_replays[0].supervisor._tasks)
        sent = len(one.replayed())
        assert sent < 12
        assert (await first.job(job.id)).published == sent
        resumed = await second.resume(job.id, ANN)
        assert resumed.runner == second._broker_replays[0].context.runner_id
        await until(lambda: len(one.replayed()) > sent)
        cancelled = await first.cancel(job.id, ANN)
        assert cancelled.state == "cancelled"
        await until(lambda: not second._broker_replays[0].supervisor._tasks)
        assert len({r.value for r in one.replayed()}) == len(one.replayed()) < 12
        with pytest.raises(Refused, match="is cancelled"):
            await first.resume(job.id, ANN)
        with pytest.raises(NotFoundError, match="no replay"):
            await first.pause("another", ANN)
        rest = await ended(first, await first.replay(ReplayRequest(again=True), ANN))
        assert rest.state == "done"
        lives = [dict(r.headers)["tracecar.replay-of"] for r in one.replayed()]
        assert len(set(lives)) == len(lives)
        assert {r.value for r in one.replayed()} == {r.value for r in one.contents()[:12]}


async def test_the_letters_of_a_cancelled_replay_are_open_at_once() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(12))
        sidecar = await one.sidecar()
        job = await sidecar.replay(ReplayRequest(again=True, rate=10), ANN)
        await until(lambda: one.replayed())
        await sidecar.pause(job.id, ANN)
        await until(lambda: not sidecar._broker_replays[0].supervisor._tasks)
        await sidecar._broker_replays[0].supervisor.look()
        left = 12 - len(one.replayed())
        assert (await sidecar.plan(ReplayRequest(again=True))).skipped[SKIP_REASONS["replaying"]] == left > 0
        await sidecar.cancel(job.id, ANN)
        after = await sidecar.plan(ReplayRequest(again=True))
        assert SKIP_REASONS["replaying"] not in after.skipped
        assert after.selected >= left


async def test_letters_that_groups_have_consumed_are_kept_back() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(4))
        group = one.log.groups["billing"] = MemoryGroup()
        group.committed[Partition("memory", "orders", 0)] = 2
        sidecar = await one.sidecar()
        plan = await sidecar.plan(ReplayRequest())
        assert (plan.selected, plan.sendable) == (4, 2)
        assert [(r.group, r.passed, r.not_passed, r.kept_back, r.lag) for r in plan.receivers] == [
            ("billing", 0, 2, 2, 2)
        ]
        job = await ended(sidecar, await sidecar.replay(ReplayRequest(query="code:*", edit=MENDED), ANN))
        assert (job.published, job.skipped) == (2, 2)
        assert "consumed it already" in next(iter(job.reasons))
        kept = tuple(f"{GROUP}@memory://orders/0/{offset}" for offset in range(2))  # the others may have failed again
        for_one = await ended(sidecar, await sidecar.replay(ReplayRequest(group="billing", ids=kept), ANN))
        assert for_one.published == 2
        assert {dict(r.headers).get("tracecar.replay-group") for r in one.replayed()} == {None, b"billing"}


async def test_the_target_stream_must_exist() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(3))
        sidecar = await one.sidecar()
        job = await ended(sidecar, await sidecar.replay(ReplayRequest(to="orders.retry"), ANN))
        assert job.state == "failed"
        assert "orders.retry" in (job.note or "")
        one.log.create("orders.retry")
        job = await ended(sidecar, await sidecar.resume(job.id, ANN))
        assert (job.state, job.published) == ("done", 3)
        assert len(one.replayed("orders.retry")) == 3
        with pytest.raises(Refused, match="dead-letter stream"):
            await sidecar.replay(ReplayRequest(to="orders.dlt"), ANN)


async def test_a_record_that_is_too_large_fails_alone() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(2), {"eventId": "big", "qty": "x" * 500})
        sidecar = await one.sidecar()
        one.log.max_bytes = 200
        job = await ended(sidecar, await sidecar.replay(ReplayRequest(again=True), ANN))
        assert (job.state, job.published, job.failed) == ("done", 2, 1)
        assert "200" in job.failures[0].why
        assert (await states(sidecar))["2"] == "open"
        one.log.max_bytes = None
        assert (
            await ended(sidecar, await sidecar.replay(ReplayRequest(again=True, query="position:*/2"), ANN))
        ).published == 1


async def test_letters_deleted_after_the_selection_are_reported() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(6))
        sidecar = await one.sidecar()
        job = await sidecar.replay(ReplayRequest(again=True, rate=1000), ANN)
        one.log.trim(Partition("memory", "orders.dlt", 0), 4)
        job = await ended(sidecar, job)
        assert (job.published, job.failed) == (2, 4)
        assert "was deleted by retention or a trim" in job.failures[0].why


async def test_growing_batches_stop_when_a_letter_returns() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(30))
        sidecar = await one.sidecar()
        job = await ended(sidecar, await sidecar.replay(ReplayRequest(again=True, growth=True), ANN))
        assert (job.state, job.published, job.returned) == ("paused", 1, 1)
        assert "schema.mismatch" in (job.note or "")
        resumed = await ended(sidecar, await sidecar.resume(job.id, ANN))
        assert (resumed.state, resumed.published) == ("paused", 3)


async def test_growing_batches_continue_while_no_letter_returns() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(30))
        sidecar = await one.sidecar()
        one.log.create("elsewhere")
        sidecar._broker_replays[0].context = replace(sidecar._broker_replays[0].context, unseen_timeout_s=0)
        job = await ended(sidecar, await sidecar.replay(ReplayRequest(to="elsewhere", growth=True), ANN))
        assert (job.state, job.published, job.batch) == ("done", 30, 20)


async def test_old_timestamps_are_not_kept_where_retention_would_delete_the_record() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(1))
        sidecar = await one.sidecar()
        one.log.retention = Retention(keeps_ms=0, own_times=True)
        await ended(sidecar, await sidecar.replay(ReplayRequest(again=True), ANN))
        assert one.replayed()[0].timestamp > one.contents()[0].timestamp
        assert (await sidecar.desk.newest(1)).letters[0].expires_at is not None


async def test_letters_beyond_the_selection_limit_are_reported() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(5))
        sidecar = await one.sidecar(selection=2)
        for force, how in ((False, "run it again for the others"), (True, "the same query would take these again")):
            (said,) = (await sidecar.plan(ReplayRequest(again=True, force=force))).warnings
            assert said.startswith("the first 2 are taken (dead_letters.replay.selection); ")
            assert said.endswith(how)


async def test_nothing_to_send_leaves_no_job() -> None:
    async with shop() as one:
        one.harness.produce(*one.harness.good(3))
        sidecar = await one.sidecar()
        for request in (
            ReplayRequest(query="code:schema.*"),
            ReplayRequest(
                query="nothing", to="orders", range=EventRange(stream="orders", into_itself=True, confirmed=0)
            ),
        ):
            job = await sidecar.replay(request, ANN)
            assert (job.state, job.selected, job.published) == ("done", 0, 0)
            assert job.ended_at is not None
        assert await sidecar.jobs() == []
        assert one.log.ledger == {}


async def test_an_edit_is_sent_and_recorded() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(1))
        sidecar = await one.sidecar()
        id = (await sidecar.desk.newest(1)).letters[0].letter.id
        with pytest.raises(Refused, match="every open dead letter"):
            await sidecar.replay(ReplayRequest(again=True, edit=BodyEdit(set={"body": "new"})), ANN)
        job = await ended(
            sidecar, await sidecar.replay(ReplayRequest(ids=(id,), again=True, edit=BodyEdit(set={"body": "new"})), ANN)
        )
        assert job.published == 1
        assert one.replayed()[0].value == b"new"


async def test_unknown_ids_are_reported() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(1))
        sidecar = await one.sidecar()
        with pytest.raises(NotFoundError, match="nobody"):
            await sidecar.replay(ReplayRequest(ids=("nobody@memory://orders/0/9",)), ANN)
        plan = await sidecar.plan(
            ReplayRequest(ids=("tracecar.shop@memory://orders/0/0", "nobody@memory://orders/0/9"))
        )
        assert plan.selected == 1
        assert any("nobody" in warning for warning in plan.warnings)


async def test_a_job_says_which_of_its_letters_were_sent_as_the_origin_has_them() -> None:
    async with shop() as one:
        one.log.append(Outgoing("orders", b"k", b'{"eventId": "e-1", "qty": 1}', (), partition=0))
        headers = spring(partition=0, offset=0, timestamp=one.contents()[0].timestamp)
        one.log.create("orders.DLT", 1)
        one.log.append(Outgoing("orders.DLT", b"k", b'{"eventId":"e-1","qty":1.0}', headers, partition=0))
        sidecar = await one.sidecar()
        job = await ended(sidecar, await sidecar.replay(ReplayRequest(again=True), ANN))
        assert (job.published, job.letter_warnings) == (1, {f"the value {SERIALIZED_AGAIN}": 1})
        assert [record.value for record in one.replayed()] == [b'{"eventId": "e-1", "qty": 1}']
        assert show_replay(job, Redactor(())).warnings == [f"1 of the letters: the value {SERIALIZED_AGAIN}"]
