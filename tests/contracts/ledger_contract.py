"""The contract of every ledger (`sidecar.domain.ports.ledger.Ledger`), in memory and on real servers.

An adapter's test module subclasses `LedgerContract` and provides `harness`, as for the broker.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from sidecar.domain.errors import Refused, TooLarge
from sidecar.domain.model import Outgoing
from sidecar.domain.ports.broker import Broker, Retention
from sidecar.domain.ports.ledger import LedgerOutcome, LedgerTransaction, LedgerWrite
from tests.contracts.broker_harness import BrokerHarness
from tests.support.disturbed_calls import DisturbedCall, disturb_each_await


def outgoing(stream: str, value: bytes | None, **more: object) -> Outgoing:
    return Outgoing(stream=stream, key=more.pop("key", None), value=value, headers=(("h", b"1"),), **more)  # type: ignore[arg-type]


class LedgerContract:
    """Every promise of the port."""

    @pytest.fixture
    async def harness(self) -> BrokerHarness:
        raise NotImplementedError("an adapter's test module gives this fixture")

    @pytest.fixture
    def stream(self) -> str:
        return f"orders-{uuid.uuid4().hex[:12]}"

    @pytest.fixture
    async def broker(self, harness: BrokerHarness, stream: str) -> Broker:
        await harness.create(stream)
        broker = harness.broker(stream, group=f"tracecar.{uuid.uuid4().hex[:8]}")
        await broker.start()
        return broker

    @pytest.fixture
    async def other(self, harness: BrokerHarness, stream: str, broker: Broker) -> Broker:
        """The broker of another sidecar."""
        other = harness.broker(stream, group=f"tracecar.{uuid.uuid4().hex[:8]}")
        await other.start()
        return other

    async def test_an_act_publishes_and_leaves_its_entries(self, harness, broker, other, stream):
        key = f"job:{uuid.uuid4().hex}"
        act = LedgerTransaction(
            stream,
            (LedgerWrite(key, None, b"\x00\xffa"), LedgerWrite(key + "2", None, b"b")),
            (outgoing(stream, b"v"),),
        )
        (done,) = await broker.ledger.act([act])
        assert done.carried_out
        assert done.stands == (b"\x00\xffa", b"b")
        assert [(r.position, r.value) for r in await harness.contents(stream)] == [(done.positions[0], b"v")]
        for one in (broker, other):
            assert await one.ledger.entries(stream, [key, key + "2", key + "3"]) == [b"\x00\xffa", b"b", None]

    async def test_an_act_is_carried_out_once_however_often_it_is_asked_for(self, harness, broker, other, stream):
        act = LedgerTransaction(stream, (LedgerWrite("k" + stream, None, b"a"),), (outgoing(stream, b"v"),))
        done = [(await one.ledger.act([act]))[0] for one in (broker, other, broker)]
        assert all(one.carried_out for one in done)
        assert [len(one.positions) for one in done] == [1, 0, 0]
        assert len(await harness.contents(stream)) == 1

    async def test_a_changed_entry_is_left_alone_and_reported(self, harness, broker, other, stream):
        key = "k" + stream
        await other.ledger.act([LedgerTransaction(stream, (LedgerWrite(key, None, b"theirs"),))])
        mine = LedgerTransaction(
            stream, (LedgerWrite(key, None, b"mine"), LedgerWrite(key + "2", None, b"mine")), (outgoing(stream, b"v"),)
        )
        free = LedgerTransaction(stream, (LedgerWrite(key + "3", None, b"free"),), (outgoing(stream, b"w"),))
        taken, done = await broker.ledger.act([mine, free])
        assert (taken.carried_out, taken.stands) == (False, (b"theirs", None))
        assert done.carried_out
        assert [r.value for r in await harness.contents(stream)] == [b"w"]
        assert await other.ledger.entries(stream, [key + "2", key + "3"]) == [None, b"free"]

    async def test_entries_are_changed_and_deleted(self, broker, other, stream):
        key = f"job:{stream}"
        assert (await broker.ledger.act([LedgerTransaction(None, (LedgerWrite(key, None, b"1"),))]))[0].carried_out
        assert (await other.ledger.act([LedgerTransaction(None, (LedgerWrite(key, b"1", b"2"),))]))[0].carried_out
        assert not (await broker.ledger.act([LedgerTransaction(None, (LedgerWrite(key, b"1", b"3"),))]))[0].carried_out
        assert (await broker.ledger.under(key)) == {key: b"2"}
        assert (await broker.ledger.act([LedgerTransaction(None, (LedgerWrite(key, b"2", None),))]))[0].carried_out
        assert await other.ledger.under(key) == {}
        assert await other.ledger.entries(None, [key]) == [None]

    async def test_acts_of_one_call_that_concern_the_same_entry_follow_one_another(self, harness, broker, stream):
        key = "k" + stream
        twice = [
            LedgerTransaction(stream, (LedgerWrite(key, None, b"1"),), (outgoing(stream, b"first"),)),
            LedgerTransaction(stream, (LedgerWrite(key, None, b"x"),), (outgoing(stream, b"never"),)),
            LedgerTransaction(stream, (LedgerWrite(key, b"1", b"2"),), (outgoing(stream, b"second"),)),
        ]
        assert [one.carried_out for one in await broker.ledger.act(twice)] == [True, False, True]
        assert [r.value for r in await harness.contents(stream)] == [b"first", b"second"]

    async def test_many_acts_keep_their_order(self, harness, broker, stream):
        acts = [
            LedgerTransaction(
                stream, (LedgerWrite(f"{stream} {n}", None, b"%d" % n),), (outgoing(stream, b"%d" % n, partition=0),)
            )
            for n in range(2_500)
        ]
        done = await broker.ledger.act(acts)
        assert all(one.carried_out for one in done)
        contents = await harness.contents(stream)
        assert [r.value for r in contents] == [b"%d" % n for n in range(2_500)]
        assert [one.positions[0] for one in done] == [r.position for r in contents]

    async def test_two_concurrent_actors_do_each_act_once(self, harness, broker, other, stream):
        def acts(who: str) -> list[LedgerTransaction]:
            return [
                LedgerTransaction(
                    stream, (LedgerWrite(f"{stream} {n}", None, who.encode()),), (outgoing(stream, b"%d" % n),)
                )
                for n in range(60)
            ]

        async def one_by_one(one: Broker, who: str) -> int:
            done = 0
            mine = acts(who)
            for at in range(0, 60, 4):
                done += sum(d.carried_out for d in await one.ledger.act(mine[at : at + 4]))
            return done

        counts = await asyncio.gather(one_by_one(broker, "a"), one_by_one(other, "b"))
        assert sum(counts) == 60
        assert sorted(int(r.value) for r in await harness.contents(stream)) == list(range(60))

    async def test_a_stream_that_is_missing_is_not_made(self, harness, broker, stream):
        missing = f"missing-{stream}"
        act = LedgerTransaction(stream, (LedgerWrite("m" + stream, None, b"1"),), (outgoing(missing, b"v"),))
        with pytest.raises(Refused, match=missing):
            await broker.ledger.act([act])
        assert await broker.ledger.entries(stream, ["m" + stream]) == [None]
        assert missing not in await broker.streams()
        await harness.create(missing)
        assert (await broker.ledger.act([act]))[0].carried_out

    async def test_a_dead_letter_stream_that_is_missing_is_made(self, harness, broker, stream):
        letters = harness.naming("g").dead_letter_stream(stream)
        act = LedgerTransaction(stream, (LedgerWrite("d" + stream, None, b"1"),), (outgoing(letters, b"v"),))
        assert (await broker.ledger.act([act]))[0].carried_out
        assert [r.value for r in await harness.contents(letters)] == [b"v"]

    async def test_a_record_that_is_too_large_is_named_and_its_act_is_not_done(self, harness, broker, stream):
        big = await harness.too_large()
        if big is None:
            return
        acts = [
            LedgerTransaction(
                stream, (LedgerWrite(f"{n}{stream}", None, b"1"),), (outgoing(stream, big if n == 1 else b"v"),)
            )
            for n in range(3)
        ]
        with pytest.raises(TooLarge) as raised:
            await broker.ledger.act(acts)
        assert raised.value.index == 1
        assert await broker.ledger.entries(stream, ["1" + stream]) == [None]
        del acts[1]
        assert all(one.carried_out for one in await broker.ledger.act(acts))
        assert [r.value for r in await harness.contents(stream)] == [b"v", b"v"]

    async def test_no_await_of_an_act_does_it_twice_or_leaves_half_of_it(self, harness, broker, other, stream):
        acts: list[LedgerTransaction] = []

        def act() -> Coroutine[Any, Any, list[LedgerOutcome]]:
            number = b"%d" % len(acts)
            writes = (
                LedgerWrite(f"{stream} a{len(acts)}", None, number),
                LedgerWrite(f"{stream} b{len(acts)}", None, b"b"),
            )
            acts.append(LedgerTransaction(stream, writes, (outgoing(stream, number),)))
            return broker.ledger.act([acts[-1]])

        async def check(_: DisturbedCall[list[LedgerOutcome]]) -> None:
            for each in (broker, other):
                (done,) = await each.ledger.act([acts[-1]])
                assert done.carried_out
                keys = [write.key for write in acts[-1].entries]
                assert await each.ledger.entries(stream, keys) == [write.after for write in acts[-1].entries]

        await disturb_each_await(act, check)
        numbers = [record.value for record in await harness.contents(stream)]
        assert sorted(numbers) == sorted(b"%d" % number for number in range(len(acts)))

    async def test_no_await_of_a_look_at_entries_changes_another_answer(self, broker, stream):
        key = f"job:{stream}"
        await broker.ledger.act([LedgerTransaction(stream, (LedgerWrite("k" + stream, None, b"v"),))])
        await broker.ledger.act([LedgerTransaction(None, (LedgerWrite(key, None, b"j"),))])
        questions: list[Callable[[], Coroutine[Any, Any, Any]]] = [
            lambda: broker.ledger.entries(stream, ["k" + stream]),
            lambda: broker.ledger.under(key),
            lambda: broker.ledger.ledger_started_at(stream),
        ]

        async def check(_: DisturbedCall[Any]) -> None:
            assert await asyncio.gather(broker.ledger.entries(stream, ["k" + stream]), broker.ledger.under(key)) == [
                [b"v"],
                {key: b"j"},
            ]

        for question in questions:
            await disturb_each_await(question, check)

    async def test_the_ledger_knows_its_age(self, broker, stream):
        await broker.ledger.act([LedgerTransaction(stream, (LedgerWrite("b" + stream, None, b"1"),))])
        begun = await broker.ledger.ledger_started_at(stream)
        assert begun is not None
        assert 1_600_000_000_000 < begun < 5_000_000_000_000

    async def test_retention_is_reported(self, broker, stream):
        assert isinstance(await broker.retention(stream), Retention)
