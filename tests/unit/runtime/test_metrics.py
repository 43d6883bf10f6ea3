"""Dead letters are counted once they are durable, and nothing else is."""

from __future__ import annotations

from sidecar.domain.errors import Outage, Refused
from sidecar.domain.ports.broker import Gap
from sidecar.domain.position import Partition
from sidecar.pipeline.stream_counters import StreamCounters
from sidecar.runtime.metrics import DESTINATION, SYSTEM, DeadLetterMetrics
from tests.support.conditions import until
from tests.support.pipeline import Harness, harness


def counted(one: Harness) -> float:
    (instrument,) = DeadLetterMetrics(one.counters).instruments()
    assert instrument.name == "tracecar.dead_letters"
    points = list(instrument.read())
    assert all(labels == {SYSTEM: "memory", DESTINATION: "orders"} for _, labels in points)
    return sum(number for number, _ in points)


async def test_a_letter_counts_only_once_it_is_durable() -> None:
    async with harness().running() as one:
        for _ in range(2):
            one.broker.fail_next("commit", Refused("not authorized to write orders.dlt"))
        one.produce(*one.bad(2), *one.good(3, 2))
        await until(lambda: one.held() == "letters", "the hold")
        assert one.counters.total_rejected() == 2
        assert counted(one) == 0
        await one.pipeline.resume("orders")
        await until(lambda: not one.broker.is_failing("commit"), "the second refusal")
        assert counted(one) == 0
        await one.pipeline.resume("orders")
        await until(lambda: counted(one) == 2, "the letters to be counted")


async def test_a_letter_whose_first_answer_is_lost_counts_once() -> None:
    async with harness().running() as one:
        one.broker.fail_next("commit", Outage("the answer was lost"), after=True)
        one.produce(*one.bad(4))
        await until(lambda: counted(one), "the letters to be counted")
        one.produce(*one.good(1, 4))
        await until(lambda: one.committed() == 5, "committing")
        assert counted(one) == len(one.letters()) == 4


async def test_records_that_pass_a_gate_are_no_letters() -> None:
    async with harness(gate={"orders": "checked"}).running() as one:
        one.produce(*one.bad(2), *one.good(5, 2))
        await until(lambda: one.committed() == 7 and counted(one), "committing")
        assert counted(one) == 2


async def test_without_letters_none_are_counted() -> None:
    async with harness(letters=False).running() as one:
        one.produce(*one.bad(3))
        await until(lambda: one.committed() == 3, "committing")
        assert counted(one) == 0


def test_deleted_records_are_counted_beyond_those_remembered() -> None:
    counters = StreamCounters()
    partition = Partition("memory", "orders", 0)
    for number in range(25):
        counters.of("memory", "orders").add_gap(Gap(partition, number, number + 1, "retention"))
    ((latest, times),) = counters.gaps()
    assert (latest.wanted, times) == (24, 25)
    assert counters.of("memory", "orders").times_lost == 25
