"""Growing batches of a replay: they wait for their readers, and stop when letters return."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from msgspec.structs import replace

from sidecar.adapters.brokers.memory.log import MemoryGroup
from sidecar.domain.errors import Outage
from sidecar.domain.model import Outgoing, Record
from sidecar.domain.position import Partition
from sidecar.replay.models import BodyEdit, ReplayRequest
from sidecar.replay.outcome_watcher import RecordReaders
from tests.support.conditions import until
from tests.support.replay import ANN, Edited, Shop, Sidecar, ended, shop
from tests.support.replay_jobs import cut_when, kill_runners, ledger_job, replace_context, supervisor

pytestmark = pytest.mark.usefixtures("short_intervals")


GOOD = b'{"eventId": "good", "qty": 1}'


class Mending:
    """An editor that leaves bodies unchanged until `works` is set: letters sent before fail again."""

    works = False
    never = -1
    """Offset of a record that always fails."""

    async def __call__(self, record: Record, edit: BodyEdit, target: str) -> Edited:
        works = self.works and record.position.offset != self.never
        return Edited(GOOD if works else record.value, record.headers)


async def start_growing(one: Shop, letters: int = 10) -> tuple[Sidecar, Mending, ReplayRequest]:
    await one.letters(*one.harness.bad(letters))
    sidecar, editor = await one.sidecar(), Mending()
    sidecar._broker_replays[0].context = replace_context(sidecar, editor=editor)
    return sidecar, editor, ReplayRequest(query="code:*", again=True, growth=True, edit=BodyEdit(set={"body": "x"}))


async def test_letters_that_returned_before_a_resume_do_not_stop_it() -> None:
    async with shop() as one:
        sidecar, editor, request = await start_growing(one)
        job = await ended(sidecar, await sidecar.replay(request, ANN))
        assert (job.state, job.published) == ("paused", 1)
        editor.works = True
        job = await ended(sidecar, await sidecar.resume(job.id, ANN))
        assert (job.state, job.published, job.returned) == ("done", 10, 1)


class Halfway(Mending):
    """An editor after which some records fail for another reason."""

    def __init__(self, *others: int) -> None:
        self.others = others

    async def __call__(self, record: Record, edit: BodyEdit, target: str) -> Edited:
        return Edited(b'{"qty": 1}' if record.position.offset in self.others else GOOD, record.headers)


async def test_one_letter_with_another_failure_does_not_stop_the_replay() -> None:
    async with shop() as one:
        sidecar, _, request = await start_growing(one)
        sidecar._broker_replays[0].context = replace_context(sidecar, editor=Halfway(1))
        job = await ended(sidecar, await sidecar.replay(request, ANN))
        assert (job.state, job.published, job.returned) == ("done", 10, 1)
        (said,) = job.warnings
        assert said.startswith(
            "tracecar.shop@memory://orders/0/1 failed again, in another way than before: schema.mismatch"
        )


@pytest.mark.parametrize("others", [(0, 2), (1, 2)])
async def test_a_new_cause_stops_the_replay(others: tuple[int, int]) -> None:
    async with shop() as one:
        sidecar, _, request = await start_growing(one)
        sidecar._broker_replays[0].context = replace_context(sidecar, editor=Halfway(*others))
        job = await ended(sidecar, await sidecar.replay(request, ANN))
        assert (job.state, job.published, job.returned) == ("paused", 3, 2)
        assert "eventId" in (job.note or "")


async def test_a_cause_is_recognized_on_another_stream() -> None:
    async with shop() as one:
        sidecar, _, request = await start_growing(one)
        one.log.create("orders.retry")
        sidecar._broker_replays[0].context = replace_context(sidecar, unseen_timeout_s=20)
        job = await sidecar.replay(replace(request, to="orders.retry", edit=BodyEdit()), ANN)
        await until(lambda: one.replayed("orders.retry"))
        (sent,) = one.replayed("orders.retry")
        facts = {name: value for name, value in one.harness.letters()[0].headers if name.startswith("tracecar.")}
        facts |= {"tracecar.dead-letter-id": b"x@memory://orders.retry/0/0"}
        facts |= {"tracecar.origin": b"memory://orders.retry/0/0"}
        one.log.append(Outgoing("orders.dlt", sent.key, sent.value, (*sent.headers, *facts.items())))
        job = await ended(sidecar, job)
        assert (job.state, job.published) == ("paused", 1)


async def test_a_letter_that_returns_during_a_batch_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.replay.runner.FIRST_STEP_LETTERS", 1)
    monkeypatch.setattr("sidecar.replay.runner.MAX_LETTERS_PER_STEP", 1)
    async with shop() as one:
        sidecar, editor, request = await start_growing(one, 20)
        editor.works = True
        editor.never = 3  # the first record of the batch of five
        job = await ended(sidecar, await sidecar.replay(replace(request, rate=40), ANN))
        assert (job.state, job.published) == ("paused", 8)


async def test_a_new_runner_stops_if_letters_returned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with shop() as one:
        sidecar, _, request = await start_growing(one)

        async def stuck(*_: object) -> RecordReaders:
            return RecordReaders(True, {"billing": 0})

        monkeypatch.setattr("sidecar.replay.ramp_up.find_readers", stuck)
        monkeypatch.setattr("sidecar.replay.outcome_watcher.OutcomeWatcher.look", nothing)
        job = await sidecar.replay(request, ANN)
        await until(lambda: ledger_job(one, job.id).at == 1)
        kill_runners(sidecar)
        monkeypatch.undo()
        monkeypatch.setattr("sidecar.replay.supervisor.RUNNER_LOST_AFTER_S", 0)
        await until(lambda: len(one.harness.letters()) == 11)
        other = await one.sidecar()
        await supervisor(other).look()
        job = await ended(other, job)
        assert (job.state, job.published) == ("paused", 1)


async def nothing(self: object) -> list[object]:
    return []


async def test_a_batch_with_a_lost_answer_waits_for_its_readers() -> None:
    async with shop() as one:
        sidecar, _, request = await start_growing(one)
        job = await sidecar.replay(request, ANN)
        # The job is written; the next write is the first batch.
        sidecar.broker.fail_next("act", Outage("cut", 0.01), after=True)
        job = await ended(sidecar, job)
        assert (job.state, job.published, job.returned) == ("paused", 1, 1)


async def test_a_pause_that_could_not_be_written_at_once_still_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_when(monkeypatch, "paused")
    async with shop() as one:
        sidecar, _, request = await start_growing(one)
        sidecar.start()
        job = await sidecar.replay(request, ANN)
        await until(lambda: ledger_job(one, job.id).state == "paused")
        assert len(one.replayed()) == 1


async def test_a_batch_that_a_group_does_not_consume_pauses_the_replay() -> None:
    async with shop() as one:
        sidecar, editor, request = await start_growing(one)
        editor.works = True
        group = one.log.groups["billing"] = MemoryGroup()
        group.committed[Partition("memory", "orders", 0)] = 10
        group.members.append(cast("Any", Reader()))
        sidecar._broker_replays[0].context = replace_context(sidecar, editor=editor, evaluation_timeout_s=1)
        job = await sidecar.replay(request, ANN)
        while (now := await sidecar.job(job.id)).note is None:
            await asyncio.sleep(0.01)
        assert now.state == "running"
        assert (now.note or "").startswith("waiting for billing")
        job = await ended(sidecar, job)
        assert (job.state, job.published) == ("paused", 1)
        assert "was not consumed by billing" in (job.note or "")
        group.committed[Partition("memory", "orders", 0)] = 100
        job = await ended(sidecar, await sidecar.resume(job.id, ANN))
        assert (job.state, job.published) == ("done", 10)


class Reader:
    """A member of a group that reads nothing."""

    def set_assignment(self, partitions: list[Partition]) -> None:
        pass

    def wake(self) -> None:
        pass

    def wants(self, stream: str) -> bool:
        return True


async def test_a_batch_without_known_readers_waits_for_returning_letters() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(5))
        one.log.create("elsewhere")
        sidecar = await one.sidecar()
        sidecar._broker_replays[0].context = replace_context(sidecar, unseen_timeout_s=20)
        job = await sidecar.replay(ReplayRequest(to="elsewhere", growth=True), ANN)
        await until(lambda: one.replayed("elsewhere"))
        (sent,) = one.replayed("elsewhere")
        # A service without a known group fails, and writes a dead letter.
        facts = {name: value for name, value in one.harness.letters()[0].headers if name.startswith("tracecar.")}
        facts |= {"tracecar.dead-letter-id": b"x@memory://elsewhere/0/0", "tracecar.origin": b"memory://elsewhere/0/0"}
        one.log.append(Outgoing("orders.dlt", sent.key, sent.value, (*sent.headers, *facts.items())))
        job = await ended(sidecar, job)
        assert (job.state, job.published) == ("paused", 1)
