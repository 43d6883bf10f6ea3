"""The ledger of replay jobs: selections, foreign entries, lost answers, deleted jobs."""

from __future__ import annotations

import zlib

import pytest
from msgspec.structs import replace

from sidecar.adapters.brokers.memory.ledger import MemoryLedger
from sidecar.domain.errors import Outage, Refused
from sidecar.replay.job_store import JobStore, LetterRef
from sidecar.replay.models import BodyEdit, ReplayJob, ReplayRequest
from tests.support.conditions import until
from tests.support.pipeline import GROUP
from tests.support.replay import ANN, ended, shop, states
from tests.support.replay_jobs import cut_when, ledger_job, supervisor

pytestmark = pytest.mark.usefixtures("short_intervals")


PIN = BodyEdit(set={"body": "pin 1234"})


def ref(number: int, *, id: str = "") -> LetterRef:
    return LetterRef([f"memory://orders.dlt/0/{number}"], [id or f"shop@memory://orders/0/{number}"], [])


async def test_the_selection_of_a_job_that_is_being_written_is_not_swept() -> None:
    async with shop() as one:
        sidecar = await one.sidecar()
        jobs = JobStore(sidecar.broker.ledger)
        held = await jobs.make(
            ReplayJob(id="j", request=ReplayRequest(), by="ann", selected=3), [ref(n) for n in range(3)]
        )
        # A sweep between the writes of the selection and of the job sees an orphan.
        orphans = await jobs.sweep({}, set())
        assert orphans == {"selection:j:0"}
        assert await jobs.sweep({"j": held}, orphans) == set()
        assert len(await jobs.refs(held.job, 0, 3)) == 3
        assert await jobs.sweep({}, orphans) == orphans
        with pytest.raises(Refused, match="start another"):
            await jobs.refs(held.job, 0, 3)


async def test_a_selection_is_stored_in_parts_that_a_broker_accepts() -> None:
    async with shop() as one:
        sidecar = await one.sidecar()
        jobs = JobStore(sidecar.broker.ledger)
        refs = [ref(n, id="x" * (2_000 if n < 1_500 else 10)) for n in range(5_000)]
        held = await jobs.make(ReplayJob(id="j", request=ReplayRequest(), by="ann", selected=5_000), refs)
        parts = [value for (_, key), value in one.log.ledger.items() if key.startswith("selection:")]
        assert max(map(len, parts)) < 500_000
        for start, end in ((0, 5_000), (0, 1), (199, 1_700), (1_499, 1_501), (4_999, 5_000), (7, 7)):
            assert await jobs.refs(held.job, start, end) == refs[start:end]


async def test_failed_jobs_are_deleted_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
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


async def test_foreign_entries_in_the_ledger_stop_no_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.replay.supervisor.RUNNER_LOST_AFTER_S", 0)
    async with shop() as one:
        await one.letters(*one.harness.bad(3))
        sidecar = await one.sidecar()
        assert GROUP == "tracecar.shop"
        host = sidecar._broker_replays[0].context.runner_id.rsplit(":", 2)[0]
        for key, value in STRANGE.items():
            text = value.replace("HOST", host)
            compressed = key == "selection:places:0"
            one.log.ledger[None, key] = zlib.compress(text.encode()) if compressed else text.encode()
        sidecar.start()
        job = await ended(sidecar, await sidecar.replay(ReplayRequest(again=True), ANN))
        assert (job.state, job.published) == ("done", 3)
        for id, state in {"marks": "failed", "huge": "failed", "garbled": "failed", "places": "done"}.items():
            await until(lambda: ledger_job(one, id).state == state)  # noqa: B023
        assert supervisor(sidecar).trouble is None
        assert not supervisor(sidecar)._task.done()
        assert "stored state is invalid" in (ledger_job(one, "marks").note or "")
        assert "Cancel it and start another" in (ledger_job(one, "garbled").note or "")


async def test_a_foreign_entry_of_a_letter_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(1))
        sidecar = await one.sidecar()
        (letter,) = (await sidecar.desk.newest(0)).letters
        deep = f'{{"id":"x","deeds":[{{"act":"replayed","at":1,"by":"a","edit":[{{"path":"a","before":{DEEP}}}]}}]}}'
        for key in (f"@{letter.letter.origin} {letter.letter.origin_timestamp}", "other"):
            one.log.ledger["orders", key] = deep.encode()
        assert (await states(sidecar)) == {"0": "open"}
        assert (await ended(sidecar, await sidecar.replay(ReplayRequest(again=True), ANN))).published == 1


async def test_a_job_ends_although_its_end_could_not_be_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_when(monkeypatch, "done")
    async with shop() as one:
        await one.letters(*one.harness.bad(3))
        sidecar = await one.sidecar()
        job = await sidecar.replay(ReplayRequest(again=True), ANN)
        await until(lambda: ledger_job(one, job.id).state == "done")
        found = ledger_job(one, job.id)
        assert (found.published, found.note) == (3, None)


def hide_pins(edit: BodyEdit) -> BodyEdit:
    return replace(edit, set=dict.fromkeys(edit.set, "[redacted]"))


async def test_a_job_stores_no_redacted_value_while_it_runs_nor_afterwards() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(30))
        sidecar = await one.sidecar(hide_edit=hide_pins)
        stored = one.log.ledger
        job = await sidecar.replay(ReplayRequest(query="code:*", again=True, rate=20, edit=PIN), ANN)
        await until(lambda: len(one.replayed()) > 1)
        assert b"1234" not in stored[None, f"job:{job.id}"]
        assert all(b"1234" in (record.value or b"") for record in one.replayed())
        await sidecar.pause(job.id, ANN)
        await sidecar.resume(job.id, ANN)
        before = len(one.replayed())
        await until(lambda: len(one.replayed()) > before)
        assert all(b"1234" in (record.value or b"") for record in one.replayed())
        await sidecar.cancel(job.id, ANN)
        await until(lambda: not supervisor(sidecar)._tasks)
        assert ledger_job(one, job.id).state == "cancelled"
        assert b"1234" not in stored[None, f"job:{job.id}"]


async def test_a_job_whose_redacted_values_are_lost_fails_and_sends_nothing() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(30))
        sidecar, other = await one.sidecar(hide_edit=hide_pins), await one.sidecar(hide_edit=hide_pins)
        job = await sidecar.replay(ReplayRequest(query="code:*", again=True, rate=20, edit=PIN), ANN)
        await until(lambda: one.replayed())
        await sidecar.close()
        sent = len(one.replayed())
        await supervisor(other).look()
        job = await ended(other, job)
        assert job.state == "failed"
        assert "redacted values" in (job.note or "")
        assert len(one.replayed()) == sent
        assert not any(b"[redacted]" in (record.value or b"") for record in one.replayed())


async def test_a_job_that_is_deleted_while_it_runs_fails() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(30))
        sidecar = await one.sidecar()
        job = await sidecar.replay(ReplayRequest(again=True, rate=20), ANN)
        await until(lambda: one.replayed())
        one.log.ledger.clear()
        await until(lambda: one.log.ledger)
        job = await ended(sidecar, job)
        assert job.state == "failed"
        assert "missing in the ledger" in (job.note or "")
        await until(lambda: not supervisor(sidecar)._tasks)
        resumed = await ended(sidecar, await sidecar.resume(job.id, ANN))
        assert "Cancel it and start another" in (resumed.note or "")
        assert (await sidecar.cancel(job.id, ANN)).state == "cancelled"


async def test_a_replay_resumed_by_another_group_runs_in_its_own() -> None:
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


async def test_a_broker_outage_does_not_block_the_jobs_of_another_broker() -> None:
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
        with pytest.raises(Outage, match="down"):  # the job may be on the broker that is down
            await sidecar.job("another")


async def test_comments_ids_and_rates_are_bounded() -> None:
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


async def test_an_unreadable_ledger_is_reported_in_status(monkeypatch: pytest.MonkeyPatch) -> None:
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
        await until(lambda: sidecar.trouble() == ["replays on memory are not supervised: not authorized"])
        refusing = False
        await until(lambda: sidecar.trouble() == [])
