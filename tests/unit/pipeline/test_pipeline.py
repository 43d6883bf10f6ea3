"""The pipeline: rejected records are dead-lettered once, held ones are shown and not committed, and none is counted
twice."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.config.schema import BreakerConfig
from sidecar.config.value_types import Duration
from sidecar.decoding import decoder
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.ports.broker import Lease
from sidecar.domain.position import Partition
from sidecar.pipeline import committer, partition_worker
from tests.support.conditions import until
from tests.support.pipeline import Harness, harness


async def test_valid_records_are_committed_and_others_dead_lettered_in_order() -> None:
    async with harness().running() as one:
        one.produce(*one.good(5), *one.bad(2, 5), *one.good(20, 7))
        await until(lambda: one.committed() == 27, "committing")
        assert one.origins() == ["memory://orders/0/5", "memory://orders/0/6"]
        letter = one.letters()[0]
        assert letter.key == b"k"
        assert letter.value == b'{"eventId": "e-5", "qty": "two"}'
        assert letter.headers[0] == ("h", b"1")
        assert one.counters.total() == 27
        assert one.counters.total_rejected() == 2
        assert [event.event_id for event in one.shown.live] == [f"e-{n}" for n in range(27)]


async def test_batches_that_take_many_steps_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "STEP_S", 0.0)
    monkeypatch.setattr(partition_worker, "MAX_WAITING_BATCHES", 1)
    async with harness().running() as one:
        one.produce(*one.good(100), *one.bad(2, 100), *one.good(100, 102))
        await until(lambda: one.committed() == 202, "committing")
        assert [event.event_id for event in one.shown.live] == [f"e-{n}" for n in range(202)]
        assert one.origins() == ["memory://orders/0/100", "memory://orders/0/101"]


async def test_large_records_among_others_are_committed_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_worker, "MAX_WAITING_BATCHES", 1)
    large = [{"eventId": f"e-{n}", "qty": 1 if n % 2 else "two", "text": "x" * 100_000} for n in range(20, 40)]
    async with harness().running() as one:
        one.produce(*one.good(20), *large, *one.good(60, 40))
        await until(lambda: one.committed() == 100, "committing")
        assert [event.event_id for event in one.shown.live] == [f"e-{n}" for n in range(100)]
        assert one.origins() == [f"memory://orders/0/{n}" for n in range(20, 40, 2)]


async def test_a_large_record_in_an_outage_holds_and_is_committed_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_worker, "RESUME_RETRY_MIN_S", 0.05)
    async with harness(outage=True).running() as one:
        one.produce({"eventId": "e-0", "qty": 1, "text": "x" * 100_000}, *one.bad(1, 1))
        await until(lambda: one.held() == "registry" and len(one.shown.live) == 2, "the hold")
        one.produce({"eventId": "e-2", "qty": 1, "text": "x" * 100_000})
        await until(lambda: len(one.shown.live) == 3, "showing")
        one.registry.trouble = None
        await until(lambda: one.committed() == 3, "committing")
        assert one.origins() == ["memory://orders/0/1"]


async def test_a_hold_in_the_middle_of_a_slow_batch_decodes_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "STEP_S", 0.0)
    monkeypatch.setattr(partition_worker, "RESUME_RETRY_MIN_S", 0.05)
    async with harness(outage=True).running() as one:
        one.produce(*one.good(30))
        await until(lambda: one.held() == "registry", "the hold")
        one.produce(*one.good(30, 30))
        one.registry.trouble = None
        await until(lambda: one.committed() == 60, "committing")
        assert one.counters.total() == 60
        assert sorted(event.event_id for event in one.shown.events.values()) == sorted(f"e-{n}" for n in range(60))


async def test_dead_letters_switched_off_are_counted_and_not_written() -> None:
    async with harness(letters=False).running() as one:
        one.produce(*one.bad(3))
        await until(lambda: one.committed() == 3, "committing")
        assert one.counters.total_rejected() == 3
        assert "orders.dlt" not in one.log.streams


async def test_a_lost_answer_of_the_broker_doubles_nothing() -> None:
    async with harness().running() as one:
        one.broker.fail_next("commit", Outage("the answer was lost"), after=True)
        one.broker.fail_next("commit", Outage("connection reset"))
        one.produce(*one.bad(4))
        await until(lambda: one.committed() == 4 and one.pipeline.find_hold("orders") is None, "committing")
        one.produce(*one.bad(1, 4))
        await until(lambda: one.committed() == 5, "committing")
        assert sorted(one.origins()) == [f"memory://orders/0/{n}" for n in range(5)]


async def test_a_registry_outage_holds_one_partition_shows_it_and_recovers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(partition_worker, "RESUME_RETRY_MIN_S", 0.05)
    async with harness(outage=True).running() as one:
        one.produce(*one.good(3), *one.bad(2, 3))
        await until(lambda: len(one.shown.live) == 5, "showing")
        assert one.held() == "registry"
        assert all(event.unchecked for event in one.shown.live)
        assert one.committed() == 0
        one.registry.trouble = None
        await until(lambda: one.committed() == 5, "committing")
        assert one.origins() == ["memory://orders/0/3", "memory://orders/0/4"]
        assert one.held() is None
        assert one.counters.total() == 5
        assert one.counters.total_rejected() == 2
        checked = [event for event in one.shown.events.values() if not event.unchecked]
        assert len(checked) == 5
        late = [event.event_id for event in one.shown.live[5:]]
        assert late == ["e-3", "e-4"], "a subscriber receives a rejection once it is known, and no other event again"


async def test_a_registry_outage_passes_unchecked_where_so_configured() -> None:
    async with harness(outage=True, on_outage="pass").running() as one:
        one.produce(*one.good(3), *one.bad(2, 3))
        await until(lambda: one.committed() == 5, "committing")
        assert one.letters() == []
        assert all(event.unchecked for event in one.shown.live)
        assert one.held() is None


async def test_skip_continues_after_the_held_records_and_no_further() -> None:
    async with harness(outage=True).running() as one:
        one.produce(*one.bad(3))
        await until(lambda: one.held() == "registry" and len(one.shown.live) == 3, "the hold")
        assert (await one.pipeline.skip("orders")).partitions == 1
        await until(lambda: one.committed() == 3, "committing")
        assert one.letters() == []
        one.produce(*one.bad(1, 3))
        await until(lambda: one.held() == "registry", "the hold")
        assert one.committed() == 3


def flooding(**settings: object) -> Harness:
    return harness(breaker=BreakerConfig(ratio=0.5, window=Duration(60), minimum=20), **settings)


async def test_an_open_breaker_holds_the_stream_and_still_shows_events() -> None:
    async with flooding().running() as one:
        one.produce(*one.bad(200))
        await until(lambda: len(one.shown.events) == 200, "showing")
        assert one.held() == "breaker"
        assert len(one.letters()) <= 20
        assert one.counters.total_rejected() == 200
        assert one.committed() == len(one.letters())


async def test_resume_retries_and_holds_again_while_the_cause_remains() -> None:
    async with flooding().running() as one:
        one.produce(*one.bad(200))
        await until(lambda: len(one.shown.events) == 200, "showing")
        before = len(one.letters())
        assert await one.pipeline.resume("orders") == 1
        await until(lambda: one.held() == "breaker", "the next hold")
        assert before <= len(one.letters()) <= before + 20
        assert one.counters.total() == 200
        assert one.counters.total_rejected() == 200


async def test_two_releases_at_once_letter_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    async with flooding().running() as one:
        one.produce(*one.bad(60))
        await until(lambda: len(one.shown.events) == 60 and one.held() == "breaker", "the hold")
        rewind, waits = one.broker.rewind, iter((0.0, 0.004))

        async def slowly(lease: Lease) -> None:
            await asyncio.sleep(next(waits, 0.0))
            await rewind(lease)

        monkeypatch.setattr(one.broker, "rewind", slowly)
        await asyncio.gather(one.pipeline.skip("orders"), one.pipeline.skip("orders"))
        await until(lambda: one.committed() == 60, "committing")
        assert one.origins() == [f"memory://orders/0/{n}" for n in range(60)]


async def test_skip_dead_letters_all_held_records_and_loses_nothing() -> None:
    async with flooding().running() as one:
        one.produce(*one.bad(200), *one.good(5, 200))
        await until(lambda: len(one.shown.events) == 205, "showing")
        assert (await one.pipeline.skip("orders")).partitions == 1
        await until(lambda: one.committed() == 205, "committing")
        assert one.origins() == [f"memory://orders/0/{n}" for n in range(200)]
        assert one.counters.total() == 205
        assert one.counters.total_rejected() == 200
        assert len(one.shown.live) == 205


async def test_the_breaker_closes_once_the_held_records_would_pass() -> None:
    one = harness(breaker=BreakerConfig(ratio=0.5, window=Duration(0.2), minimum=20))
    async with one.running():
        one.produce(*one.bad(200))
        await until(lambda: len(one.shown.events) == 200 and one.held() == "breaker", "the hold")
        one.registry.register(
            "orders-value", '{"type":"record","name":"Order","fields":[{"name":"eventId","type":"string"}]}'
        )
        await one.catalog.refresh()
        await until(lambda: one.committed() == 200, "committing")
        assert one.held() is None
        assert len(one.letters()) <= 20


async def test_a_letter_that_is_too_large_is_written_without_its_body() -> None:
    one = harness()
    async with one.running():
        one.produce({"eventId": "e-1", "qty": "z" * 5000}, *one.bad(1, 2))
        one.log.max_bytes = 1000
        await until(lambda: one.committed() == 2, "committing")
        large, small = one.letters()
        assert (large.value, large.key) == (None, b"k")
        assert dict(large.headers)["tracecar.omitted"] == b"body"
        assert small.value == b'{"eventId": "e-2", "qty": "two"}'


async def test_a_gate_forwards_valid_records_in_order_and_dead_letters_the_others() -> None:
    async with harness(2, gate={"orders": "checked"}).running() as one:
        one.broker.fail_next("commit", Outage("the answer was lost"), after=True)
        for number in range(30):
            one.produce(*(one.bad(1, number) if number % 5 == 0 else one.good(1, number)), partition=number % 2)
        await until(lambda: one.committed(0) + one.committed(1) == 30, "committing")
        assert len(one.letters()) == 6
        assert len(one.log.streams["checked"]) == 2
        for partition, log in enumerate(one.log.streams["checked"]):
            source = one.log.streams["orders"][partition].records
            wanted = [(r.key, r.value, r.headers, r.timestamp) for r in source if b'"two"' not in (r.value or b"")]
            assert [(r.key, r.value, r.headers, r.timestamp) for r in log.records] == wanted


async def test_letters_that_cannot_be_written_hold_the_stream_until_they_can(monkeypatch: pytest.MonkeyPatch) -> None:
    async with harness().running() as one:
        for _ in range(2):
            one.broker.fail_next("commit", Refused("not authorized to write orders.dlt"))
        one.produce(*one.bad(1))
        await until(lambda: one.held() == "letters", "the hold")
        one.produce(*one.good(3, 1))
        await until(lambda: len(one.shown.events) == 4, "showing")
        await one.pipeline.resume("orders")  # refused a second time
        await until(lambda: not one.broker.is_failing("commit"), "the second refusal")
        assert one.held() == "letters"
        await one.pipeline.resume("orders")
        await until(lambda: one.committed() == 4, "committing")
        assert one.origins() == ["memory://orders/0/0"]
        assert one.held() is None


async def test_a_broker_that_commits_nothing_for_long_holds_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_worker, "COMMIT_FAILURE_HOLD_US", 0)
    monkeypatch.setattr(committer, "COMMIT_RETRY_MAX_S", 0.1)
    async with harness().running() as one:
        for _ in range(4):
            one.broker.fail_next("commit", Outage("no coordinator"))
        one.produce(*one.bad(1))
        await until(lambda: one.held() == "broker", "the hold")
        held = one.pipeline.find_hold("orders")
        assert held is not None
        assert held.hold.reason.startswith("commit failed: no coordinator. It is retried")
        one.produce(*one.bad(3, 1))
        await until(lambda: one.committed() == 4, "committing")
        assert sorted(one.origins()) == [f"memory://orders/0/{n}" for n in range(4)]
        assert one.counters.total_rejected() == 4


async def test_a_partition_waits_alone() -> None:
    async with harness(2).running() as one:
        one.produce(*one.good(1))
        await until(lambda: one.committed() == 1, "committing")
        one.registry.trouble = Outage("gone")
        one.produce(b"\x00\x00\x00\x00\x64rest", partition=1)  # names a schema that was not fetched yet
        one.produce(*one.good(4, 1))
        await until(lambda: one.held() == "registry" and one.committed() == 5, "the hold, and the other's committing")
        held = one.pipeline.find_hold("orders")
        assert held is not None
        assert held.partitions == (Partition("memory", "orders", 1),)
        one.registry.trouble = None
        await until(lambda: one.committed(1) == 1, "committing")
        assert one.origins() == ["memory://orders/1/0"]


async def test_too_many_uncommitted_records_pause_the_partition_until_they_are_committed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(partition_worker, "MAX_UNCOMMITTED_RECORDS", 30)
    async with harness().running() as one:
        for _ in range(3):
            one.broker.fail_next("commit", Outage("slow"))
        one.produce(*one.good(500))
        await until(lambda: one.committed() == 500, "committing")
        assert one.counters.total() == 500


async def test_two_members_share_partitions_and_a_leave_doubles_no_letter() -> None:
    one = harness(4)
    other = Harness(one.log, one.registry)
    async with one.running():
        async with other.running():
            for number in range(40):
                one.produce(*one.bad(1, number), partition=number % 4)
            await until(lambda: len(one.letters()) >= 20, "letters")
        for number in range(40, 60):
            one.produce(*one.bad(1, number), partition=number % 4)
        await until(lambda: sum(one.committed(n) for n in range(4)) == 60, "committing")
        origins = one.origins()
        assert len(origins) == len(set(origins)) == 60


async def test_the_look_back_window_fills_the_index_and_commits_nothing() -> None:
    first = harness()
    async with first.running():
        first.produce(*first.good(10), *first.bad(2, 10))
        await until(lambda: first.committed() == 12, "committing")
    second = Harness(first.log, first.registry, lookback=3600)
    async with second.running():
        await until(lambda: second.shown.filled, "filling")
        assert len(second.shown.events) == 12
        assert second.shown.live == []
        assert second.counters.total() == 0
        assert len(second.letters()) == 2


async def test_a_stream_that_is_created_again_is_read_from_its_beginning_and_its_old_events_are_forgotten() -> None:
    one = harness()
    async with one.running():
        one.produce(*one.good(5))
        await until(lambda: one.committed() == 5, "the first stream")
        one.log.recreate("orders")
        one.produce(*one.good(1, start=100), *one.bad(1, start=200))
        await until(lambda: one.committed() == 2, "the second one")
        assert sorted(event.event_id or "" for event in one.shown.events.values()) == ["e-100", "e-200"]
        assert one.origins() == ["memory://orders/0/1"]
        (gap,) = one.counters.of("memory", "orders").gaps
        assert gap.recreated


async def test_a_gap_is_reported_and_skipped() -> None:
    one = harness()
    one.produce(*one.good(10))
    async with one.running():
        await until(lambda: one.committed() == 10, "committing")
    one.produce(*one.good(10, 10))
    one.log.trim(Partition("memory", "orders", 0), 15)
    two = Harness(one.log, one.registry)
    async with two.running():
        await until(lambda: two.committed() == 20, "committing")
        gaps = two.counters.of("memory", "orders").gaps
        assert [(gap.wanted, gap.resumed) for gap in gaps] == [(10, 15)]


async def test_a_disconnected_broker_is_connected_again() -> None:
    async with harness().running() as one:
        one.produce(*one.bad(1))
        await until(lambda: one.committed() == 1, "committing")
        one.broker.fail_next("batches", Outage("connection reset"))
        one.produce(*one.bad(1, 1))
        await until(lambda: one.committed() == 2, "committing")
        assert sorted(one.origins()) == ["memory://orders/0/0", "memory://orders/0/1"]


async def test_redelivered_records_are_counted_and_shown_once() -> None:
    one = harness()
    one.broker.fail_next("commit", Outage("cut", retry_after=60))
    async with one.running():
        one.produce(*one.good(2), *one.bad(2, 2))
        await until(lambda: one.counters.total() == 4, "judging")
        one.broker.fail_next("batches", Outage("connection reset"))
        one.produce(*one.bad(1, 4))
        await until(lambda: one.committed() == 5, "committing")
        assert len(one.origins()) == 3
        assert (one.counters.total(), one.counters.total_rejected()) == (5, 3)
        assert [event.position.offset for event in one.shown.live] == [0, 1, 2, 3, 4]


async def test_a_mistake_of_ours_ends_the_run_rather_than_a_lane_in_silence() -> None:
    one = harness()

    class Broken(Exception):
        pass

    one.broker.fail_next("commit", Broken())
    async with one.running():
        one.produce(*one.good(1))
        await until(lambda: one.ended is not None, "the end")
        assert isinstance(one.ended, Broken)
