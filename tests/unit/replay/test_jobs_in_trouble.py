"""Replays in trouble: runners that die or are robbed, answers that are lost, ledgers that are deleted or written by
strangers, and what comes back."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import zlib
from collections.abc import Sequence
from typing import Any, cast

import msgspec
import pytest
from msgspec.structs import replace

from sidecar.adapters.brokers.memory.broker import MemoryBroker
from sidecar.adapters.brokers.memory.ledger import MemoryLedger
from sidecar.adapters.brokers.memory.log import MemoryGroup
from sidecar.dead_letters.grouping import affected_aggregate
from sidecar.dead_letters.store import DeadLetterFilter
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.model import Outgoing, Record
from sidecar.domain.ports.ledger import LedgerOutcome, LedgerTransaction, LedgerWrite
from sidecar.domain.position import Partition
from sidecar.replay.job_store import JobStore, LetterRef
from sidecar.replay.models import BodyEdit, ReplayJob, ReplayRequest
from sidecar.replay.outcome_watcher import RecordReaders
from sidecar.replay.selection import select
from sidecar.replay.supervisor import has_died, runner_name
from tests.support.conditions import until
from tests.support.pipeline import GROUP
from tests.support.replay import ANN, Edited, Shop, Sidecar, ended, shop, states


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.replay.job_progress.SAVE_INTERVAL_S", 0.02)
    monkeypatch.setattr("sidecar.replay.ramp_up.LOOK_INTERVAL_S", 0.01)
    monkeypatch.setattr("sidecar.replay.supervisor.LOOK_INTERVAL_S", 0.02)


def supervisor(sidecar: Sidecar) -> Any:
    return sidecar._broker_replays[0].supervisor


def kill(sidecar: Sidecar) -> None:
    """Nothing is handed over."""
    for task in list(supervisor(sidecar)._tasks.values()):
        task.cancel()


def entry(one: Shop, id: str) -> ReplayJob:
    return msgspec.json.decode(one.log.ledger[None, f"job:{id}"], type=ReplayJob)


def write(one: Shop, job: ReplayJob) -> None:
    one.log.ledger[None, f"job:{job.id}"] = msgspec.json.encode(job)


def ref(number: int, *, id: str = "") -> LetterRef:
    return LetterRef([f"memory://orders.dlt/0/{number}"], [id or f"shop@memory://orders/0/{number}"], [])


# --- the ledger's jobs


async def test_the_selection_of_a_job_that_was_just_being_written_is_not_swept_away() -> None:
    async with shop() as one:
        sidecar = await one.sidecar()
        jobs = JobStore(sidecar.broker.ledger)
        held = await jobs.make(
            ReplayJob(id="j", request=ReplayRequest(), by="ann", selected=3), [ref(n) for n in range(3)]
        )
        # What a sweep saw that looked between the selection and the job.
        orphans = await jobs.sweep({}, set())
        assert orphans == {"selection:j:0"}
        assert await jobs.sweep({"j": held}, orphans) == set()
        assert len(await jobs.refs(held.job, 0, 3)) == 3
        assert await jobs.sweep({}, orphans) == orphans
        with pytest.raises(Refused, match="start another"):
            await jobs.refs(held.job, 0, 3)


async def test_a_selection_is_kept_in_parts_that_a_broker_takes() -> None:
    async with shop() as one:
        sidecar = await one.sidecar()
        jobs = JobStore(sidecar.broker.ledger)
        refs = [ref(n, id="x" * (2_000 if n < 1_500 else 10)) for n in range(5_000)]
        held = await jobs.make(ReplayJob(id="j", request=ReplayRequest(), by="ann", selected=5_000), refs)
        parts = [value for (_, key), value in one.log.ledger.items() if key.startswith("selection:")]
        assert max(map(len, parts)) < 500_000
        for start, end in ((0, 5_000), (0, 1), (199, 1_700), (1_499, 1_501), (4_999, 5_000), (7, 7)):
            assert await jobs.refs(held.job, start, end) == refs[start:end]


async def test_failed_jobs_are_forgotten_too_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.replay.job_store.MAX_ENDED_JOBS", 2)
    async with shop() as one:
        jobs = JobStore((await one.sidecar()).broker.ledger)
        for number in range(5):
            await jobs.make(
                ReplayJob(id=f"j{number}", request=ReplayRequest(), by="ann", state="failed", started_at=number + 1), []
            )
        await jobs.sweep(await jobs.all(), set())
        assert set(await jobs.all()) == {"j3", "j4"}


DEEP = "[" * 100_000 + "]" * 100_000
STRANGE = {
    "job:deep": f'{{"id":"deep","by":"b","wish":{{"edit":{{"body":{DEEP}}}}}}}',
    "job:marks": '{"id":"marks","by":"b","wish":{},"group":"tracecar.shop","marks":["nowhere"],"selected":1}',
    "job:huge": f'{{"id":"huge","by":"b","wish":{{}},"group":"tracecar.shop","selected":{10**15},"parts":[0]}}',
    "job:host": '{"id":"host","by":"b","wish":{},"group":"tracecar.shop","runner":"HOST:\u00b2:x","selected":0}',
    "job:garbled": '{"id":"garbled","by":"b","wish":{},"group":"tracecar.shop","selected":1,"parts":[0]}',
    "selection:garbled:0": "garbled",
    "job:places": '{"id":"places","by":"b","wish":{},"group":"tracecar.shop","selected":1,"parts":[0]}',
    "selection:places:0": '[[["nowhere"],["x"],[],"c"]]',
    "job:": "",
}


async def test_what_strangers_write_into_the_ledger_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.replay.supervisor.RUNNER_LOST_AFTER_S", 0)
    async with shop() as one:
        await one.letters(*one.harness.bad(3))
        sidecar = await one.sidecar()
        assert GROUP == "tracecar.shop"
        for key, value in STRANGE.items():
            text = value.replace("HOST", sidecar.me.rpartition(":")[0].rpartition(":")[0])
            compressed = key == "selection:places:0"
            one.log.ledger[None, key] = zlib.compress(text.encode()) if compressed else text.encode()
        sidecar.start()
        job = await ended(sidecar, await sidecar.replay(ReplayRequest(again=True), ANN))
        assert (job.state, job.published) == ("done", 3)
        for id, state in {"marks": "failed", "huge": "failed", "garbled": "failed", "places": "done"}.items():
            await until(lambda: entry(one, id).state == state)  # noqa: B023
        assert supervisor(sidecar).trouble is None
        assert not supervisor(sidecar)._task.done()
        assert "makes no sense" in (entry(one, "marks").note or "")
        assert "cancel this one and start another" in (entry(one, "garbled").note or "")


async def test_an_entry_of_a_letter_that_a_stranger_wrote_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(1))
        sidecar = await one.sidecar()
        (letter,) = (await sidecar.desk.newest(0)).letters
        deep = f'{{"id":"x","deeds":[{{"act":"replayed","at":1,"by":"a","edit":[{{"path":"a","before":{DEEP}}}]}}]}}'
        for key in (f"@{letter.letter.origin} {letter.letter.origin_timestamp}", "other"):
            one.log.ledger["orders", key] = deep.encode()
        assert (await states(sidecar)) == {"0": "open"}
        assert (await ended(sidecar, await sidecar.replay(ReplayRequest(again=True), ANN))).published == 1


# --- lost answers, and decisions


async def test_a_job_ends_although_that_could_not_be_written_down_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_when(monkeypatch, "done")
    async with shop() as one:
        await one.letters(*one.harness.bad(3))
        sidecar = await one.sidecar()
        job = await sidecar.replay(ReplayRequest(again=True), ANN)
        await until(lambda: entry(one, job.id).state == "done")
        found = entry(one, job.id)
        assert (found.published, found.note) == (3, None)


def cut_when(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    """The ledger cannot be reached the first three times that a job of this state is written."""
    change, cut = JobStore.change, [3]

    async def failing(self: JobStore, held: Any, job: ReplayJob) -> Any:
        if job.state == state and cut[0]:
            cut[0] -= 1
            raise Outage("cut", 0.01)
        return await change(self, held, job)

    monkeypatch.setattr(JobStore, "change", failing)


async def test_a_cancelled_job_keeps_nothing_hidden() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(30))
        sidecar = await one.sidecar()
        sidecar._broker_replays[0].context = replace_kit(
            sidecar, redact_request=lambda request: replace(request, edit=BodyEdit(set={"body": "***"}))
        )
        job = await sidecar.replay(
            ReplayRequest(query="code:*", again=True, rate=20, edit=BodyEdit(set={"body": "pin 1234"})), ANN
        )
        await until(lambda: one.replayed())
        await sidecar.cancel(job.id, ANN)
        await until(lambda: not supervisor(sidecar)._tasks)
        assert entry(one, job.id).state == "cancelled"
        assert b"1234" not in one.log.ledger[None, f"job:{job.id}"]


def replace_kit(sidecar: Sidecar, **changes: Any) -> Any:
    return dataclasses.replace(sidecar._broker_replays[0].context, **changes)


async def test_a_job_that_is_deleted_while_it_runs_fails_and_says_so() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(30))
        sidecar = await one.sidecar()
        job = await sidecar.replay(ReplayRequest(again=True, rate=20), ANN)
        await until(lambda: one.replayed())
        one.log.ledger.clear()
        await until(lambda: one.log.ledger)
        job = await ended(sidecar, job)
        assert job.state == "failed"
        assert "gone from the ledger" in (job.note or "")
        await until(lambda: not supervisor(sidecar)._tasks)
        resumed = await ended(sidecar, await sidecar.resume(job.id, ANN))
        assert "cancel this one and start another" in (resumed.note or "")
        assert (await sidecar.cancel(job.id, ANN)).state == "cancelled"


async def test_a_replay_that_another_group_resumes_is_run_by_its_own() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(12))
        sidecar, other = await one.sidecar(), await one.sidecar()
        job = await sidecar.replay(ReplayRequest(again=True, rate=10), ANN)
        await sidecar.pause(job.id, ANN)
        await until(lambda: not supervisor(sidecar)._tasks)
        object.__setattr__(other._broker_replays[0].source, "group", "tracecar.billing")
        supervisor(other)._group = "tracecar.billing"
        resumed = await other.resume(job.id, ANN)
        assert (resumed.state, resumed.runner) == ("running", "")
        assert GROUP in (resumed.note or "")
        await supervisor(other).look()
        assert not supervisor(other)._tasks
        await supervisor(sidecar).look()
        assert (await ended(sidecar, job)).published == 12


# --- runners


async def test_who_stops_hands_over() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(30))
        sidecar, other = await one.sidecar(), await one.sidecar()
        job = await sidecar.replay(ReplayRequest(again=True, rate=20), ANN)
        await until(lambda: one.replayed())
        await sidecar.close()
        assert entry(one, job.id).runner == ""
        await supervisor(other).look()
        await other.cancel(job.id, ANN)


async def test_a_letter_that_another_runner_of_the_job_sent_meanwhile_counts_as_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other one was taken for dead, and its act arrives just before ours."""
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


async def test_a_forced_replay_that_dies_does_not_send_again_what_another_forced_one_sent_since() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(1))
        one.log.create("elsewhere")
        sidecar, request = await one.sidecar(), ReplayRequest(to="elsewhere", force=True)
        first = await ended(sidecar, await sidecar.replay(request, ANN))
        await ended(sidecar, await sidecar.replay(request, ANN))
        assert len(one.replayed("elsewhere")) == 2
        # It died before it wrote down that it had sent the letter.
        write(one, replace(first, state="running", at=0, published=0, runner="", ended_at=None))
        other = await one.sidecar()
        await supervisor(other).look()
        again = await ended(other, first)
        assert (again.published, len(one.replayed("elsewhere"))) == (1, 2)


async def test_while_nobody_can_say_who_passed_a_record_it_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
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
        other = await one.sidecar()  # which has not looked at the groups
        await supervisor(other).look()
        await until(lambda: "whether a group has passed" in (supervisor(other).current(entry(one, job.id)).note or ""))
        monkeypatch.setattr(MemoryBroker, "groups", groups)
        job = await ended(other, job)
        assert (job.published, job.skipped, job.note) == (4, 0, None)


async def test_a_rate_is_held_after_an_outage_too() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(60))
        sidecar = await one.sidecar()
        job = await sidecar.replay(ReplayRequest(again=True, rate=20), ANN)
        await until(lambda: one.replayed())
        keeping = supervisor(sidecar)._runners[job.id]._job_progress
        keeping._next_slot -= 60  # a minute in which nothing could be sent
        began, before = asyncio.get_running_loop().time(), len(one.replayed())
        await until(lambda: len(one.replayed()) >= before + 35)
        assert asyncio.get_running_loop().time() - began > 0.2
        await sidecar.cancel(job.id, ANN)


def test_who_has_died() -> None:
    me = runner_name()
    host = me.rpartition(":")[0].rpartition(":")[0]
    assert has_died(f"{host}:{os.getpid()}:before", me)
    assert not has_died(f"{host}:{os.getppid()}:x", me)
    for strange in (f"{host}:\u00b2:x", f"{host}:{10**30}:x", "", ":", f"elsewhere:{os.getpid()}:x"):
        assert not has_died(strange, me)


def test_containers_that_share_the_name_of_their_host_are_not_taken_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.readlink", lambda path: "pid:[1]")
    one = runner_name()
    monkeypatch.setattr("os.readlink", lambda path: "pid:[2]")
    assert not has_died(one, runner_name())


# --- much, and large


async def test_however_large_the_letters_are_a_step_has_few_bytes_of_them_in_memory(
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


async def test_one_stream_that_cannot_be_written_fails_its_letters_and_all_of_them_the_job() -> None:
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

        sidecar._broker_replays[0].context = replace_kit(sidecar, in_sight=all_in_sight)
        job = await ended(sidecar, await sidecar.replay(ReplayRequest(again=True), ANN))
        assert (job.state, job.published, job.failed) == ("done", 2, 2)
        assert "there is no stream gone" in job.failures[0].why
        # Those that were sent may have failed again by now.
        job = await ended(sidecar, await sidecar.replay(ReplayRequest(query="code:reported.*", again=True), ANN))
        assert (job.state, job.published, job.failed) == ("failed", 0, 0)
        assert "there is no stream gone" in (job.note or "")


async def test_a_selection_keeps_of_each_letter_only_what_is_asked_about() -> None:
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


async def test_what_is_left_out_is_counted_although_not_all_of_it_is_remembered(monkeypatch: Any) -> None:
    monkeypatch.setattr("sidecar.replay.selection.MAX_LEFT_OUT_KEYS", 3)
    async with shop() as one:
        await one.letters(*one.harness.bad(10))
        one.log.create("elsewhere")
        sidecar = await one.sidecar()
        await ended(sidecar, await sidecar.replay(ReplayRequest(to="elsewhere"), ANN))
        again = await ended(sidecar, await sidecar.replay(ReplayRequest(to="elsewhere"), ANN))
        assert again.reasons == {"was replayed already": 10}


async def test_a_broker_that_is_down_is_not_in_the_way_of_the_jobs_of_another() -> None:
    async with shop() as up, shop() as down:
        await up.letters(*up.harness.bad(12))
        sidecar, other = await up.sidecar(), await down.sidecar()
        sidecar._broker_replays.insert(0, other._broker_replays[0])
        held = await JobStore(sidecar.broker.ledger).make(
            ReplayJob(id="j", request=ReplayRequest(), by="ann", group=GROUP), []
        )
        other.broker.fail_next("entries", Outage("down"))
        assert [one.id for one in await sidecar.jobs()] == ["j"]
        other.broker.fail_next("entries", Outage("down"))
        assert (await sidecar.cancel("j", ANN)).id == held.job.id
        other.broker.fail_next("entries", Outage("down"))
        with pytest.raises(Outage, match="down"):  # it may be there
            await sidecar.job("another")


async def test_what_every_entry_would_carry_on_is_bounded() -> None:
    async with shop() as one:
        sidecar = await one.sidecar()
        for request in (
            ReplayRequest(comment="x" * 5_000),
            ReplayRequest(ids=tuple(map(str, range(10_000)))),
            ReplayRequest(rate=float("nan")),
        ):
            with pytest.raises(Refused, match=r"at most|more than 0"):
                await sidecar.replay(request, ANN)
            with pytest.raises(Refused, match=r"at most|more than 0"):
                await sidecar.plan(request)


# --- growing batches


GOOD = b'{"eventId": "good", "qty": 1}'


class Mending:
    """An editor that leaves bodies as they are until `works`: what is sent until then fails again."""

    works = False
    never = -1
    """The offset of a record that always fails."""

    async def __call__(self, record: Record, edit: BodyEdit, target: str) -> Edited:
        works = self.works and record.position.offset != self.never
        return Edited(GOOD if works else record.value, record.headers)


async def growing(one: Shop, letters: int = 10) -> tuple[Sidecar, Mending, ReplayRequest]:
    await one.letters(*one.harness.bad(letters))
    sidecar, editor = await one.sidecar(), Mending()
    sidecar._broker_replays[0].context = replace_kit(sidecar, editor=editor)
    return sidecar, editor, ReplayRequest(query="code:*", again=True, growth=True, edit=BodyEdit(set={"body": "x"}))


async def test_what_came_back_of_earlier_batches_does_not_stop_one_that_was_resumed() -> None:
    async with shop() as one:
        sidecar, editor, request = await growing(one)
        job = await ended(sidecar, await sidecar.replay(request, ANN))
        assert (job.state, job.published) == ("paused", 1)
        editor.works = True
        job = await ended(sidecar, await sidecar.resume(job.id, ANN))
        assert (job.state, job.published, job.returned) == ("done", 10, 1)


class Halfway(Mending):
    """Some records fail otherwise once they are mended."""

    def __init__(self, *others: int) -> None:
        self.others = others

    async def __call__(self, record: Record, edit: BodyEdit, target: str) -> Edited:
        return Edited(b'{"qty": 1}' if record.position.offset in self.others else GOOD, record.headers)


async def test_one_that_fails_otherwise_than_before_does_not_stop_the_others() -> None:
    async with shop() as one:
        sidecar, _, request = await growing(one)
        sidecar._broker_replays[0].context = replace_kit(sidecar, editor=Halfway(1))
        job = await ended(sidecar, await sidecar.replay(request, ANN))
        assert (job.state, job.published, job.returned) == ("done", 10, 1)
        (said,) = job.warnings
        assert said.startswith("tracecar.shop@memory://orders/0/1 failed again, otherwise than before: schema.mismatch")


@pytest.mark.parametrize("others", [(0, 2), (1, 2)])
async def test_a_new_cause_that_comes_back_stops_the_replay(others: tuple[int, int]) -> None:
    async with shop() as one:
        sidecar, _, request = await growing(one)
        sidecar._broker_replays[0].context = replace_kit(sidecar, editor=Halfway(*others))
        job = await ended(sidecar, await sidecar.replay(request, ANN))
        assert (job.state, job.published, job.returned) == ("paused", 3, 2)
        assert "eventId" in (job.note or "")


async def test_a_cause_that_comes_back_on_another_stream_is_the_same() -> None:
    async with shop() as one:
        sidecar, _, request = await growing(one)
        one.log.create("orders.retry")
        sidecar._broker_replays[0].context = replace_kit(sidecar, unseen_timeout_s=20)
        job = await sidecar.replay(replace(request, to="orders.retry", edit=BodyEdit()), ANN)
        await until(lambda: one.replayed("orders.retry"))
        (sent,) = one.replayed("orders.retry")
        facts = {name: value for name, value in one.harness.letters()[0].headers if name.startswith("tracecar.")}
        facts |= {"tracecar.dead-letter-id": b"x@memory://orders.retry/0/0"}
        facts |= {"tracecar.origin": b"memory://orders.retry/0/0"}
        one.log.append(Outgoing("orders.dlt", sent.key, sent.value, (*sent.headers, *facts.items())))
        job = await ended(sidecar, job)
        assert (job.state, job.published) == ("paused", 1)


async def test_what_comes_back_while_a_batch_is_being_sent_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.replay.runner.FIRST_STEP_LETTERS", 1)
    monkeypatch.setattr("sidecar.replay.runner.MAX_LETTERS_PER_STEP", 1)
    async with shop() as one:
        sidecar, editor, request = await growing(one, 20)
        editor.works = True
        editor.never = 3  # the first of the batch of five
        job = await ended(sidecar, await sidecar.replay(replace(request, rate=40), ANN))
        assert (job.state, job.published) == ("paused", 8)


async def test_a_runner_that_takes_over_does_not_go_on_where_something_came_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with shop() as one:
        sidecar, _, request = await growing(one)

        async def stuck(*_: object) -> RecordReaders:
            return RecordReaders(True, {"billing": 0})

        monkeypatch.setattr("sidecar.replay.ramp_up.find_readers", stuck)
        monkeypatch.setattr("sidecar.replay.outcome_watcher.OutcomeWatcher.look", nothing)
        job = await sidecar.replay(request, ANN)
        await until(lambda: entry(one, job.id).at == 1)
        kill(sidecar)
        monkeypatch.undo()
        monkeypatch.setattr("sidecar.replay.supervisor.RUNNER_LOST_AFTER_S", 0)
        await until(lambda: len(one.harness.letters()) == 11)
        other = await one.sidecar()
        await supervisor(other).look()
        job = await ended(other, job)
        assert (job.state, job.published) == ("paused", 1)


async def nothing(self: object) -> list[object]:
    return []


async def test_a_batch_of_which_an_answer_was_lost_waits_for_its_readers() -> None:
    async with shop() as one:
        sidecar, _, request = await growing(one)
        job = await sidecar.replay(request, ANN)
        # The job is written; the next act is the first batch.
        sidecar.broker.fail_next("act", Outage("cut", 0.01), after=True)
        job = await ended(sidecar, job)
        assert (job.state, job.published, job.returned) == ("paused", 1, 1)


async def test_a_pause_that_could_not_be_written_down_at_once_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_when(monkeypatch, "paused")
    async with shop() as one:
        sidecar, _, request = await growing(one)
        sidecar.start()
        job = await sidecar.replay(request, ANN)
        await until(lambda: entry(one, job.id).state == "paused")
        assert len(one.replayed()) == 1


async def test_a_batch_that_its_readers_do_not_pass_pauses_the_replay() -> None:
    async with shop() as one:
        sidecar, editor, request = await growing(one)
        editor.works = True
        group = one.log.groups["billing"] = MemoryGroup()
        group.committed[Partition("memory", "orders", 0)] = 10
        group.members.append(cast("Any", Reader()))
        sidecar._broker_replays[0].context = replace_kit(sidecar, editor=editor, evaluation_timeout_s=1)
        job = await sidecar.replay(request, ANN)
        while (now := await sidecar.job(job.id)).note is None:
            await asyncio.sleep(0.01)
        assert now.state == "running"
        assert (now.note or "").startswith("waiting for billing")
        job = await ended(sidecar, job)
        assert (job.state, job.published) == ("paused", 1)
        assert "was not passed by billing" in (job.note or "")
        group.committed[Partition("memory", "orders", 0)] = 100
        job = await ended(sidecar, await sidecar.resume(job.id, ANN))
        assert (job.state, job.published) == ("done", 10)


class Reader:
    """A member of a group, which reads nothing."""

    def set_assignment(self, partitions: list[Partition]) -> None:
        pass

    def wake(self) -> None:
        pass

    def wants(self, stream: str) -> bool:
        return True


async def test_where_nobody_is_known_to_read_a_batch_waits_a_moment_for_what_comes_back() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(5))
        one.log.create("elsewhere")
        sidecar = await one.sidecar()
        sidecar._broker_replays[0].context = replace_kit(sidecar, unseen_timeout_s=20)
        job = await sidecar.replay(ReplayRequest(to="elsewhere", growth=True), ANN)
        await until(lambda: one.replayed("elsewhere"))
        (sent,) = one.replayed("elsewhere")
        # A service that we do not know of fails, and writes a letter.
        facts = {name: value for name, value in one.harness.letters()[0].headers if name.startswith("tracecar.")}
        facts |= {"tracecar.dead-letter-id": b"x@memory://elsewhere/0/0", "tracecar.origin": b"memory://elsewhere/0/0"}
        one.log.append(Outgoing("orders.dlt", sent.key, sent.value, (*sent.headers, *facts.items())))
        job = await ended(sidecar, job)
        assert (job.state, job.published) == ("paused", 1)


# --- several letters of one origin


async def test_letters_of_one_origin_have_one_state_whichever_of_them_was_sent() -> None:
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


async def test_replays_that_cannot_be_looked_after_any_more_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.replay.supervisor.LOOK_INTERVAL_S", 0.01)
    async with shop() as one:
        sidecar = await one.sidecar()
        entries = MemoryLedger.under
        refusing = True

        async def under(self: MemoryLedger, prefix: str) -> dict[str, bytes]:
            if refusing:
                raise Refused("not authorized")
            return await entries(self, prefix)

        monkeypatch.setattr(MemoryLedger, "under", under)
        sidecar.start()
        await until(lambda: supervisor(sidecar).trouble)
        assert sidecar.trouble() == [], "who may not look at replays at all is here to do something else"
        refusing = False
        await until(lambda: supervisor(sidecar).looked)
        refusing = True
        await until(lambda: sidecar.trouble() == ["replays on memory are not looked after: not authorized"])
        refusing = False
        await until(lambda: sidecar.trouble() == [])
