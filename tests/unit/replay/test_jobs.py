"""Replays: each letter is sent once and unchanged, also after crashes and with other operators at work."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
from msgspec.structs import replace as changed

from sidecar.adapters.brokers.memory.ledger import MemoryLedger
from sidecar.adapters.brokers.memory.log import MemoryGroup
from sidecar.domain.errors import NotFoundError, Outage, Refused
from sidecar.domain.ports.broker import Retention
from sidecar.domain.ports.ledger import LedgerOutcome, LedgerTransaction, LedgerWrite
from sidecar.domain.position import Partition
from sidecar.replay.models import BodyEdit, EventRange, ReplayJob, ReplayRequest
from sidecar.replay.selection import SKIP_REASONS
from tests.support.conditions import until
from tests.support.replay import ANN, ended, shop, states

LENIENT = '{"type":"record","name":"Order","fields":[{"name":"eventId","type":"string"}]}'


async def test_each_letter_is_sent_once_as_it_was_and_in_order() -> None:
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


async def test_what_was_replayed_is_not_sent_again_unless_forced() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(3))
        sidecar = await one.sidecar()
        one.registry.register(
            "orders-value", '{"type":"record","name":"Order","fields":[{"name":"eventId","type":"string"}]}'
        )
        await ended(sidecar, await sidecar.replay(ReplayRequest(again=True), ANN))
        again = await ended(sidecar, await sidecar.replay(ReplayRequest(again=True), ANN))
        assert (again.state, again.selected, again.published) == ("done", 0, 0)
        assert again.reasons == {"was replayed already": 3}
        forced = await ended(sidecar, await sidecar.replay(ReplayRequest(again=True, force=True), ANN))
        assert forced.published == 3


async def test_what_fails_again_is_linked_and_the_attempts_count_up_until_it_is_parked() -> None:
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
        assert (last.selected, last.reasons["is parked: it was replayed as often as is allowed"]) == (0, 1)
        # The headers of the record did not grow from round to round.
        assert len({len(record.headers) for record in one.replayed()}) == 1
        # A parked letter waits for a person too: a query that discards takes it, and what returned is left alone.
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
async def test_an_outage_neither_doubles_nor_skips(after: bool) -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(20))
        sidecar = await one.sidecar()
        job = await sidecar.replay(ReplayRequest(again=True), ANN)
        for _ in range(3):
            sidecar.broker.fail_next("act", Outage("cut", 0.01), after=after)
        job = await ended(sidecar, job)
        assert (job.state, job.published) == ("done", 20)
        assert len({r.value for r in one.replayed()}) == len(one.replayed()) == 20


async def test_a_killed_replay_goes_on_at_another_sidecar(monkeypatch: pytest.MonkeyPatch) -> None:
    act = MemoryLedger.act

    async def slowly(self: MemoryLedger, acts: Sequence[LedgerTransaction]) -> list[LedgerOutcome]:
        done = await act(self, acts)
        await asyncio.sleep(0.02)  # carried out, and not answered yet
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
                task.cancel()  # as a kill: nothing is handed over
            await asyncio.sleep(0)
        assert kills >= 5
        job = await ended(sidecar, job)
        assert (job.state, job.published, job.selected) == ("done", 30, 30)
        assert [r.value for r in one.replayed()] == [r.value for r in one.contents()[:30]]


@pytest.mark.parametrize("act", ["pause", "cancel"])
async def test_who_pauses_or_cancels_is_told_what_was_sent_until_then(act: str) -> None:
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
        assert resumed.runner == second.me
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


async def test_what_others_pass_is_kept_from_the_origin() -> None:
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
        job = await ended(sidecar, await sidecar.replay(ReplayRequest(), ANN))
        assert (job.published, job.skipped) == (2, 2)
        assert "passed it already" in next(iter(job.reasons))
        for_one = await ended(sidecar, await sidecar.replay(ReplayRequest(group="billing"), ANN))
        assert for_one.published == 2
        assert {dict(r.headers).get("tracecar.replay-group") for r in one.replayed()} == {None, b"billing"}


async def test_another_stream_is_sent_to_and_must_be_there() -> None:
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


async def test_letters_that_retention_took_between_selection_and_sending_are_said_to_be_gone() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(6))
        sidecar = await one.sidecar()
        job = await sidecar.replay(ReplayRequest(again=True, rate=1000), ANN)
        one.log.trim(Partition("memory", "orders.dlt", 0), 4)
        job = await ended(sidecar, job)
        assert (job.published, job.failed) == (2, 4)
        assert "gone" in job.failures[0].why


async def test_growing_batches_stop_when_something_comes_back() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(30))
        sidecar = await one.sidecar()
        job = await ended(sidecar, await sidecar.replay(ReplayRequest(again=True, growth=True), ANN))
        assert (job.state, job.published, job.returned) == ("paused", 1, 1)
        assert "schema.mismatch" in (job.note or "")
        resumed = await ended(sidecar, await sidecar.resume(job.id, ANN))
        assert (resumed.state, resumed.published) == ("paused", 3)


async def test_growing_batches_go_on_while_nothing_comes_back() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(30))
        sidecar = await one.sidecar()
        one.log.create("elsewhere")
        sidecar._broker_replays[0].context = replace(sidecar._broker_replays[0].context, unseen_timeout_s=0)
        job = await ended(sidecar, await sidecar.replay(ReplayRequest(to="elsewhere", growth=True), ANN))
        assert (job.state, job.published, job.batch) == ("done", 30, 20)


async def test_old_timestamps_are_left_behind_where_retention_would_take_the_record_at_once() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(1))
        sidecar = await one.sidecar()
        one.log.retention = Retention(keeps_ms=0, own_times=True)
        await ended(sidecar, await sidecar.replay(ReplayRequest(again=True), ANN))
        assert one.replayed()[0].timestamp > one.contents()[0].timestamp
        assert (await sidecar.desk.newest(1)).letters[0].expires_at is not None


async def test_discarding_and_restoring() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(3))
        sidecar = await one.sidecar()
        found = await sidecar.desk.newest(0)
        id = found.letters[0].letter.id
        (outcome,) = await sidecar.discard([id], "a test order", ANN)
        assert (outcome.done, outcome.state) == (True, "discarded")
        (unknown,) = await sidecar.discard(["nobody@memory://orders/0/77"], "x", ANN)
        assert (unknown.done, "no dead-letter stream" in (unknown.why or "")) == (False, True)
        shown = await sidecar.desk.show(id)
        assert shown is not None
        assert shown.entry is not None
        assert (shown.state, shown.entry.actions[0].why, shown.entry.actions[0].by) == (
            "discarded",
            "a test order",
            "ann",
        )
        job = await ended(sidecar, await sidecar.replay(ReplayRequest(again=True), ANN))
        assert (job.published, job.reasons) == (2, {"was discarded": 1})
        (restored,) = await sidecar.restore([id], ANN)
        assert (restored.done, restored.state) == (True, "open")
        assert (await ended(sidecar, await sidecar.replay(ReplayRequest(again=True), ANN))).published >= 1


async def test_all_that_match_are_discarded_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.replay.discard.MAX_LETTERS_PER_CALL", 3)
    async with shop() as one:
        await one.letters(*one.harness.bad(10))
        sidecar = await one.sidecar(selection=4)
        taken = [await sidecar.discard_found("code:schema.*", "a load test", ANN) for _ in range(3)]
        assert [len(page.outcomes) for page in taken] == [4, 4, 2]
        assert [page.more for page in taken] == [True, True, False]
        assert set((await states(sidecar)).values()) == {"discarded"}
        nothing = await sidecar.discard_found("code:schema.*", "again", ANN)
        assert (nothing.outcomes, nothing.more) == ([], False)


async def test_discarding_ends_where_nothing_of_it_can_be_done() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(5))
        sidecar, other = await one.sidecar(selection=2), await one.sidecar()

        async def taken(acts: Sequence[LedgerTransaction]) -> list[LedgerOutcome]:
            return [LedgerOutcome(False, tuple([None] * len(one.entries))) for one in acts]

        sidecar.broker.ledger.act = taken  # type: ignore[method-assign]
        page = await sidecar.discard_found("code:schema.*", "x", ANN)
        assert [one.done for one in page.outcomes] == [False, False]
        assert not page.more
        assert "others act on it at the same time" in (page.outcomes[0].why or "")
        assert set((await states(other)).values()) == {"open"}


async def test_what_is_not_taken_any_more_is_said_with_how_to_take_it() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(5))
        sidecar = await one.sidecar(selection=2)
        for force, how in ((False, "run it again for the others"), (True, "the same one would take these again")):
            (said,) = (await sidecar.plan(ReplayRequest(again=True, force=force))).warnings
            assert said.startswith("the first 2 are taken (dead_letters.replay.selection); ")
            assert said.endswith(how)


async def test_where_there_is_nothing_to_send_no_job_is_left() -> None:
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
        with pytest.raises(Refused, match="every dead letter"):
            await sidecar.replay(ReplayRequest(again=True, edit=BodyEdit(set={"body": "new"})), ANN)
        job = await ended(
            sidecar, await sidecar.replay(ReplayRequest(ids=(id,), again=True, edit=BodyEdit(set={"body": "new"})), ANN)
        )
        assert job.published == 1
        assert one.replayed()[0].value == b"new"


async def test_ids_that_are_nobodys_are_said() -> None:
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


# --- ranges


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


async def test_a_range_goes_into_its_own_stream_only_when_that_is_meant_and_the_count_confirmed() -> None:
    async with shop() as one:
        one.harness.produce(*one.harness.good(5))
        sidecar = await one.sidecar()
        request = ReplayRequest(to="orders", range=EventRange(stream="orders"))
        with pytest.raises(Refused, match="--into-itself"):
            await sidecar.replay(request, ANN)
        with pytest.raises(Refused, match="5 events would go into orders again"):
            await sidecar.replay(ReplayRequest(to="orders", range=EventRange(stream="orders", into_itself=True)), ANN)
        with pytest.raises(Refused, match="4 events were confirmed, and it would be 5"):
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


async def test_a_range_is_what_the_dry_run_counted_whatever_comes_meanwhile() -> None:
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


async def test_how_far_a_range_is_goes_once_nobody_can_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
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
        assert left() == {f"range:{first.id}"}, "who was taken for dead may still look there"
        await jobs.sweep(await jobs.all(), orphans)
        assert left() == set()

        # One that failed may be resumed, and needs it, until its job is forgotten.
        failed = ReplayJob(id="failed", request=request, by="ann", state="failed", started_at=1)
        await jobs.make(failed, [])
        await sidecar.broker.ledger.act([LedgerTransaction("orders.copy", (LedgerWrite("range:failed", None, b"{}"),))])
        for most in (2, 2, 2, 1):
            assert left() == {"range:failed"}
            monkeypatch.setattr("sidecar.replay.job_store.MAX_ENDED_JOBS", most)
            orphans = await jobs.sweep(await jobs.all(), orphans)
        assert "failed" not in await jobs.all()
        assert left() == set()


async def test_a_range_that_failed_says_what_was_sent_and_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
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
            "not authorized to write orders.copy. 30 of 45 events were sent to orders.copy; mend it, then tracecar "
            f"replays resume {job.id} goes on at memory://orders/0/30, and sends none of them twice"
        )
        job = await ended(sidecar, await sidecar.resume(job.id, ANN))
        assert (job.state, job.published) == ("done", 45)
        assert [r.value for r in one.contents("orders.copy")] == [r.value for r in one.contents()]


async def test_events_of_a_range_that_are_gone_when_they_should_be_sent_are_told() -> None:
    async with shop() as one:
        one.harness.produce(*one.harness.good(20))
        one.log.create("orders.copy")
        sidecar = await one.sidecar()
        job = await sidecar.replay(ReplayRequest(to="orders.copy", rate=1000, range=EventRange(stream="orders")), ANN)
        one.log.trim(Partition("memory", "orders", 0), 15)
        job = await ended(sidecar, job)
        assert (job.state, job.published, job.failed) == ("done", 5, 15)
        assert job.failures[0].why.startswith("15 of the 20 events that were counted at the start were not found again")
