"""A reported failure is a durable dead letter before the answer, and one letter for any number of reports."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from sidecar.adapters.brokers.memory.ledger import MemoryLedger
from sidecar.dead_letters.ledger_entries import Actor
from sidecar.domain.errors import NotFoundError, Outage, Refused
from sidecar.domain.model import Headers, Outgoing, Record
from sidecar.domain.ports.ledger import LedgerOutcome, LedgerTransaction
from sidecar.domain.position import Position
from sidecar.replay.failure_reports import compute_digest
from sidecar.replay.models import ReplayRequest
from sidecar.replay.ports import FailedRecord, ReportedFailure
from tests.support.replay import ANN, ended, shop, states

GOOD = {"eventId": "e-1", "qty": 1}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
AT = Position("memory", "orders", 0, 0)


def failure(**more: object) -> ReportedFailure:
    given: dict[str, object] = {"group": "billing", "type": "KeyError", "message": "no such customer", **more}
    return ReportedFailure(**given)  # type: ignore[arg-type]


async def test_a_record_by_its_position_becomes_a_letter_with_what_is_known_of_it() -> None:
    async with shop() as one:
        headers: Headers = (("traceparent", TRACE.encode()), ("h", None), ("h", b"2"))
        one.log.append(Outgoing("orders", b"k", json.dumps(GOOD).encode(), headers))
        sidecar = await one.sidecar()
        reported = await sidecar.report(failure(position=AT, stacktrace="at line 3", attempts=4), ANN)
        assert (reported.id, reported.created) == ("billing@memory://orders/0/0", True)
        (written,) = one.contents("orders.dlt")
        assert reported.position == written.position
        assert (written.key, written.value, written.headers[:3]) == (b"k", json.dumps(GOOD).encode(), headers)
        shown = await sidecar.desk.show(reported.id)
        assert shown is not None
        assert shown.entry is not None
        letter = shown.letter
        assert (letter.code, letter.message) == ("reported.error", "KeyError: no such customer")
        assert (letter.group, letter.attempts, letter.stacktrace) == ("billing", 4, "at line 3")
        assert (letter.event_id, letter.type, letter.trace_id) == ("e-1", "Order", TRACE[3:35])
        assert (letter.origin, letter.state) == (AT, "open")
        assert [(deed.act, deed.by) for deed in shown.entry.actions] == [("reported", "ann")]


async def test_the_same_report_is_one_letter_at_two_sidecars_at_once() -> None:
    async with shop() as one:
        one.harness.produce(GOOD)
        sidecars = [await one.sidecar(), await one.sidecar()]
        found = await asyncio.gather(
            *[sidecar.report(failure(position=AT), Actor(f"w-{n}")) for n, sidecar in enumerate(sidecars * 5)]
        )
        assert sorted(one.created for one in found) == [False] * 9 + [True]
        assert {one.id for one in found} == {"billing@memory://orders/0/0"}
        assert len(one.contents("orders.dlt")) == 1


@pytest.mark.parametrize("after", [False, True])
async def test_a_report_is_made_again_after_an_outage(monkeypatch: pytest.MonkeyPatch, after: bool) -> None:
    act = MemoryLedger.act

    async def fails(self: MemoryLedger, acts: Sequence[LedgerTransaction]) -> list[LedgerOutcome]:
        if after:
            await act(self, acts)
        raise Outage("no answer")

    async with shop() as one:
        one.harness.produce(GOOD)
        sidecar = await one.sidecar()
        with monkeypatch.context() as patched:
            patched.setattr(MemoryLedger, "act", fails)
            with pytest.raises(Outage):
                await sidecar.report(failure(position=AT), ANN)
        assert (await sidecar.report(failure(position=AT), ANN)).created is not after
        assert len(one.contents("orders.dlt")) == 1


async def test_reports_of_several_groups_about_one_origin_are_replayed_once() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(1))
        sidecar = await one.sidecar()
        for group in ("billing", "shipping"):
            await sidecar.report(failure(position=AT, group=group), ANN)
        (letters,) = (await sidecar.desk.newest(0)).letters
        assert letters.groups == ["tracecar.shop", "billing", "shipping"]
        job = await ended(sidecar, await sidecar.replay(ReplayRequest(again=True), ANN))
        assert (job.selected, job.published, len(one.replayed())) == (1, 1, 1)
        assert (await states(sidecar))["0"] in ("replayed", "returned")
        assert not (await sidecar.report(failure(position=AT), ANN)).created


async def test_a_record_without_position_is_identified_by_its_content() -> None:
    async with shop(3) as one:
        sidecar = await one.sidecar()
        record = FailedRecord(
            stream="orders", key=b"k", value=b'{"eventId": "e-1"}', headers=(("h", b"1"), ("n", None))
        )
        first, again = [await sidecar.report(failure(record=record), ANN) for _ in range(2)]
        assert first.id == again.id
        assert first.id.startswith("billing@sha256:")
        assert (first.created, again.created) == (True, False)
        timed = await sidecar.report(failure(record=replace(record, timestamp=1_700_000_000_000)), ANN)
        assert timed.created
        assert timed.id != first.id
        shown = await sidecar.desk.show(first.id)
        assert shown is not None
        assert (shown.letter.origin, shown.letter.stream, shown.letter.group) == (None, "orders", "billing")
        kept = shown.letter.record
        assert kept is not None
        assert (kept.key, kept.value, kept.headers) == (record.key, record.value, record.headers)
        job = await ended(sidecar, await sidecar.replay(ReplayRequest(ids=(first.id,)), ANN))
        assert (job.published, job.failures) == (1, [])
        (sent,) = one.replayed()
        assert (sent.key, sent.value, sent.headers[:2]) == (record.key, record.value, record.headers)


def test_digests_of_different_records_differ() -> None:
    one = Record(AT, b"ab", b"c", (("n", b"v"),), 1)
    others = [
        replace(one, key=b"a", value=b"bc"),
        replace(one, key=None),
        replace(one, key=b""),
        replace(one, headers=(("nv", b""),)),
        replace(one, headers=(("n", None),)),
        replace(one, headers=(("n", b"v"), ("n", b"v"))),
        replace(one, timestamp=2),
        replace(one, timestamp=-1),
        replace(one, position=Position("memory", "order", 0, 0)),
    ]
    assert len({compute_digest(each) for each in (one, *others)}) == len(others) + 1
    assert compute_digest(one) == compute_digest(replace(one, position=Position("memory", "orders", 2, 9)))


async def test_unknown_positions_are_reported() -> None:
    async with shop() as one:
        sidecar = await one.sidecar()
        for position, said in [
            (AT, "has no record there"),
            (Position("memory", "secrets", 0, 0), "no watched stream"),
            (Position("memory", "orders.dlt", 0, 0), "no watched stream"),
            (Position("memory", "orders", 99, 1 << 80), "has no record there"),
            (Position("kafka", "orders", 0, 0), "no kafka source"),
        ]:
            with pytest.raises(NotFoundError, match=said):
                await sidecar.report(failure(position=position), ANN)
        with pytest.raises(NotFoundError, match="no watched stream has the name 'secrets'"):
            await sidecar.report(failure(record=FailedRecord(stream="secrets", value=b"x")), ANN)
        for group in ("", " ", "x" * 501, "a\x1b[2J"):
            with pytest.raises(Refused, match="group: expected"):
                await sidecar.report(failure(position=AT, group=group), ANN)
        assert one.contents("orders.dlt") == []


async def test_reported_texts_are_bounded() -> None:
    async with shop() as one:
        one.harness.produce(GOOD)
        sidecar = await one.sidecar()
        stack = "begin " + "é\udcff" * 100_000 + " end"
        await sidecar.report(
            failure(position=AT, group="a@b", message="m" * 100_000, stacktrace=stack, attempts=-3), ANN
        )
        (written,) = one.contents("orders.dlt")
        assert max(len(value or b"") for _, value in written.headers) <= 8_192
        (letters,) = (await sidecar.desk.newest(0)).letters
        shown = await sidecar.desk.show(letters.letter.id)
        assert shown is not None
        assert shown.letter.stacktrace is not None
        assert shown.letter.stacktrace.startswith("begin é")
        assert shown.letter.stacktrace.endswith(" end")
        assert "bytes left out" in shown.letter.stacktrace
        assert (shown.letter.attempts, shown.letter.group) == (1, "a@b")


async def test_a_record_that_is_too_large_is_dead_lettered_without_its_body_or_refused() -> None:
    async with shop() as one:
        one.harness.produce({"eventId": "e-1", "qty": 1, "pad": "x" * 5_000})
        one.log.max_bytes = 4_000
        sidecar = await one.sidecar()
        await sidecar.report(failure(position=AT), ANN)
        (written,) = one.contents("orders.dlt")
        assert (written.value, dict(written.headers)["tracecar.omitted"]) == (None, b"body")
        with pytest.raises(Refused, match="does not fit into a dead letter"):
            await sidecar.report(failure(record=FailedRecord(stream="orders", value=b"x" * 5_000)), ANN)
