"""Exports have exact bytes, imports write each letter once, and redacted values are never exported."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence

import pytest
from msgspec.structs import replace

from sidecar.adapters.brokers.memory.ledger import MemoryLedger
from sidecar.dead_letters.store import ANY
from sidecar.domain.errors import Outage
from sidecar.domain.model import Headers, Outgoing
from sidecar.domain.ports.ledger import LedgerOutcome, LedgerTransaction
from sidecar.domain.position import Position
from sidecar.domain.redaction import HIDDEN, Redactor
from sidecar.pipeline.pipeline import now_micros
from sidecar.replay.export_import import LetterTransfer
from sidecar.replay.models import LetterOutcome, ReplayRequest
from sidecar.replay.ports import ExportedLetter
from tests.support.dead_letters import spring
from tests.support.replay import ANN, Shop, Sidecar, ended, shop, states

OTHERS: Headers = (
    ("tracecar.dead-letter-id", b"billing@memory://orders/0/0"),
    ("tracecar.message", b"no such customer"),
    ("tracecar.origin", b"memory://orders/0/0"),
)


async def exported(sidecar: Sidecar, query: str = "", limit: int = 0) -> list[ExportedLetter]:
    return [one async for one in sidecar.export(query, limit)]


async def each(letters: Iterable[ExportedLetter]) -> AsyncIterator[ExportedLetter]:
    for one in letters:
        yield one


async def taken(sidecar: Sidecar, letters: Iterable[ExportedLetter]) -> list[LetterOutcome]:
    return [one async for one in sidecar.import_letters(each(letters), ANN)]


def lose(one: Shop, stream: str = "orders.dlt") -> None:
    """Delete the letters, as retention does."""
    for log in one.log.streams[stream]:
        log.trim(log.end)


def second_letter(one: Shop) -> None:
    """Build a letter of the first origin by another group."""
    stamp = str(one.contents()[0].timestamp).encode()
    one.log.append(Outgoing("orders.dlt", b"k", b"x", (*OTHERS, ("tracecar.origin-timestamp", stamp))))


def hiding(sidecar: Sidecar, *patterns: str, places: dict[str, list[str]] | None = None) -> LetterTransfer:
    inner = sidecar._exporting
    return LetterTransfer(inner._sources, sidecar.desk, inner._payloads, Redactor(patterns, places), now_micros)


async def test_lost_letters_are_restored_unchanged_and_once() -> None:
    async with shop(3) as one:
        for partition in range(3):
            await one.letters(*one.harness.bad(4, 4 * partition), partition=partition)
        sidecars = [await one.sidecar(), await one.sidecar()]
        before = one.contents("orders.dlt")
        out = await exported(sidecars[0])
        assert [(x.position, x.key, x.value, x.headers, x.timestamp) for x in out] == [
            (x.position, x.key, x.value, x.headers, x.timestamp) for x in before
        ]
        assert {x.hidden for x in out} == {()}
        lose(one)
        found = await asyncio.gather(*[taken(sidecar, [*out, *out]) for sidecar in sidecars])
        assert {outcome.done for some in found for outcome in some} == {True}
        after = one.contents("orders.dlt")
        assert [(x.position.partition, x.key, x.value, x.headers, x.timestamp) for x in after] == [
            (x.position.partition, x.key, x.value, x.headers, x.timestamp) for x in before
        ]
        assert set((await states(sidecars[0])).values()) == {"open"}


async def test_existing_letters_are_not_written_again() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(2))
        sidecar = await one.sidecar()
        await sidecar.discard([(await exported(sidecar))[1].id], "a test", ANN)
        found = await taken(sidecar, await exported(sidecar))
        assert [(x.done, x.state, x.why) for x in found] == [
            (True, "open", "it is still there"),
            (True, "discarded", "it is still there"),
        ]
        assert len(one.contents("orders.dlt")) == 2


async def test_every_letter_of_an_origin_is_imported_with_its_history() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(1))
        second_letter(one)
        sidecar = await one.sidecar()
        await ended(sidecar, await sidecar.replay(ReplayRequest(again=True), ANN))
        out = [x for x in await exported(sidecar) if "orders/0/0" in x.id]
        assert len(out) == 2
        lose(one)
        assert [(x.done, x.state) for x in await taken(sidecar, out)] == [(True, "replayed")] * 2
        assert [x.why for x in await taken(sidecar, out)] == ["it was imported before"] * 2
        assert len(one.contents("orders.dlt")) == 2
        (letters,) = (await sidecar.desk.newest(0)).letters
        assert letters.groups == ["tracecar.shop", "billing"]
        assert letters.state == "replayed"


@pytest.mark.parametrize("after", [False, True])
async def test_an_outage_while_taking_in_neither_doubles_nor_skips(
    monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    act, calls = MemoryLedger.act, iter(range(100))

    async def fails(self: MemoryLedger, acts: Sequence[LedgerTransaction]) -> list[LedgerOutcome]:
        third = next(calls) == 2
        if third and not after:
            raise Outage("no answer")
        done = await act(self, acts)
        if third:
            raise Outage("no answer")
        return done

    async with shop() as one:
        await one.letters(*one.harness.bad(5))
        sidecar = await one.sidecar()
        out = await exported(sidecar)
        lose(one)
        monkeypatch.setattr(MemoryLedger, "act", fails)
        with pytest.raises(Outage):
            await taken(sidecar, out)
        assert all(x.done for x in await taken(sidecar, out))
        assert [x.value for x in one.contents("orders.dlt")] == [x.value for x in out]


async def test_queries_and_limits_choose_what_leaves() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(3))
        sidecar = await one.sidecar()
        await sidecar.discard([(await exported(sidecar))[0].id], "a test", ANN)
        assert [x.state for x in await exported(sidecar)] == ["discarded", "open", "open"]
        assert [x.position.offset for x in await exported(sidecar, "state:open", 1)] == [1]


async def test_foreign_lines_are_refused_one_by_one() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(1))
        sidecar = await one.sidecar()
        (good,) = await exported(sidecar)
        lose(one)

        def at(position: Position) -> ExportedLetter:
            return ExportedLetter(
                id="x",
                position=position,
                stream=position.stream,
                partition=0,
                key=None,
                value=b"",
                headers=(),
                timestamp=0,
            )

        found = await taken(
            sidecar,
            [
                at(Position("kafka", "orders.dlt", 0, 0)),
                at(Position("memory", "orders", 0, 0)),
                at(Position("memory", "tracecar.ledger", 0, 0)),
                at(Position("memory", "secrets.dlt", 0, 0)),
                good,
            ],
        )
        assert [x.done for x in found] == [False] * 4 + [True]
        assert "no kafka source" in (found[0].why or "")
        assert all("not a dead-letter stream of a watched stream" in (x.why or "") for x in found[1:4])
        assert (len(one.contents("orders")), len(one.contents("orders.dlt"))) == (1, 1)


async def test_a_letter_that_is_too_large_is_refused_and_the_others_go_on() -> None:
    async with shop() as one:
        await one.letters({"eventId": "e-0", "qty": "x" * 1_000}, *one.harness.bad(1))
        sidecar = await one.sidecar()
        out = await exported(sidecar)
        lose(one)
        one.log.max_bytes = 500
        assert [x.done for x in await taken(sidecar, out)] == [False, True]


async def test_redacted_values_are_not_exported_and_are_restored_from_the_origin() -> None:
    async with shop() as one:
        one.log.append(
            Outgoing("orders", b"agg", b'{"eventId": "e-1", "qty": "secret"}', (("auth", b"secret"), ("h", b"1")))
        )
        while not one.harness.letters():
            await asyncio.sleep(0.005)
        sidecar = await one.sidecar()
        exporting = hiding(sidecar, "body:qty", "header:auth", places={"aggregate_id": ["header:auth", "key"]})
        (before,) = one.contents("orders.dlt")
        (out,) = [x async for x in exporting.export(ANY)]
        assert out.hidden == ("body", "key", "header:auth", "header:tracecar.message", "header:tracecar.aggregate-id")
        assert "secret" not in repr(out)
        assert (out.key, out.value) == (None, None)
        assert HIDDEN.encode() in (dict(out.headers)["tracecar.message"] or b"")
        lose(one)
        (outcome,) = [x async for x in exporting.import_letters(each([out]), ANN)]
        assert outcome.done
        (after,) = one.contents("orders.dlt")
        assert (after.key, after.value, after.headers[:2]) == (before.key, before.value, before.headers[:2])
        lose(one, "orders")
        lose(one)
        other = replace(out, headers=tuple((n, b"z" + (v or b"") if n.endswith("-id") else v) for n, v in out.headers))
        (outcome,) = [x async for x in exporting.import_letters(each([other]), ANN)]
        assert not outcome.done
        assert "no longer exists" in (outcome.why or "")


@pytest.mark.parametrize("value", [b'{"qty": "secret"}', b"secret \xff\x00", b""])
async def test_other_frameworks_headers_about_the_failure_may_quote_what_is_hidden(value: bytes) -> None:
    async with shop() as one:
        quoting = tuple(
            (name, b"found secret" if "message" in name or "stacktrace" in name else told) for name, told in spring()
        )
        one.log.append(Outgoing("orders.dlt", b"k", value, (("message-id", b"7"), *quoting)))
        sidecar = await one.sidecar()
        (out,) = [x async for x in hiding(sidecar, "body:qty").export(ANY)]
        assert "secret" not in json.dumps([[n, (v or b"").decode("latin-1")] for n, v in out.headers])
        assert dict(out.headers)["message-id"] == b"7"
        assert ("body" in out.hidden) is bool(value)
