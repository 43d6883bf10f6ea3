"""The circuit breaker opens at a share of rejections within a sliding window."""

from __future__ import annotations

from sidecar.config.schema import BreakerConfig
from sidecar.config.value_types import Duration
from sidecar.pipeline.circuit_breaker import CircuitBreaker


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def breaker(clock: Clock, ratio: float = 0.5, minimum: int = 100) -> CircuitBreaker:
    return CircuitBreaker(BreakerConfig(ratio=ratio, window=Duration(60), minimum=minimum), clock)


def test_stays_closed_below_the_minimum_however_bad() -> None:
    assert not breaker(Clock()).record(99, 99)


def test_opens_above_the_ratio_and_tells_once() -> None:
    opened: list[int] = []
    limits = BreakerConfig(ratio=0.5, window=Duration(60), minimum=100)
    one = CircuitBreaker(limits, Clock(), on_open=lambda: opened.append(1))
    assert not one.record(100, 50)
    assert one.record(10, 10)
    assert one.record(10, 10)
    assert opened == [1]


def test_good_events_do_not_open_it_late() -> None:
    one = breaker(Clock(), minimum=10)
    one.record(4, 4)
    assert not one.record(100, 0)


def test_outcomes_outside_of_the_window_do_not_count() -> None:
    clock = Clock()
    one = breaker(clock)
    one.record(90, 90)
    clock.now += 61
    assert not one.record(20, 20)
    assert one.recent == (20, 20)


def test_the_window_slides_rather_than_jumps() -> None:
    clock = Clock()
    one = breaker(clock)
    one.record(60, 60)
    clock.now += 30
    assert one.record(60, 60)


def test_closing_starts_a_new_window() -> None:
    one = breaker(Clock())
    assert one.record(200, 200)
    one.close()
    assert not one.open
    assert one.recent == (0, 0)
    assert not one.record(50, 50)
