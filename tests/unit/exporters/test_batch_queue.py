"""The queue of each backend: batches, bounds, backoff, and counts that add up."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest

from exporters import batch_queue
from exporters.batch_queue import BatchQueue, QueueBounds
from sidecar.domain.errors import Outage, Refused
from tests.support.conditions import wait_until


class Told:
    """A transport with scripted answers."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.answers: list[int | Exception] = []
        """Answers to the next requests; afterwards everything is accepted."""
        self.closed = False
        self.tried = 0
        self.gate = threading.Event()
        self.gate.set()

    def send(self, items: Sequence[bytes]) -> int:
        self.tried += 1
        self.gate.wait(60)
        answer = self.answers.pop(0) if self.answers else 0
        if isinstance(answer, Exception):
            raise answer
        self.batches.append(list(items))
        return answer

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    monkeypatch.setattr(batch_queue, "RETRY_WAIT_FIRST_S", 0.01)
    transport = Told()
    yield transport
    transport.gate.set()


def items(count: int, size: int = 10) -> list[bytes]:
    return [bytes(size)] * count


def test_batches_are_bounded_by_number_and_by_bytes(told: Told) -> None:
    box = BatchQueue("x", told, QueueBounds(batch_items=10, batch_bytes=200, linger=0.01))
    box.put(items(25))
    box.close()
    assert [len(batch) for batch in told.batches] == [10, 10, 5]
    wide = BatchQueue("x", told, QueueBounds(batch_items=10, batch_bytes=200, linger=0.01))
    wide.put(items(5, size=150))
    wide.close()
    assert [len(batch) for batch in told.batches[3:]] == [2, 2, 1]
    assert (box.sent, wide.sent, told.closed) == (25, 5, True)


def test_few_items_go_after_a_while(told: Told) -> None:
    box = BatchQueue("x", told, QueueBounds(linger=0.05))
    box.put(items(3))
    wait_until(lambda: box.sent == 3)
    box.close()


def test_the_queue_drops_beyond_its_bounds_of_number_and_bytes(told: Told) -> None:
    told.gate.clear()
    box = BatchQueue("x", told, QueueBounds(items=50, bytes=100_000, batch_items=10, linger=0))
    box.put(items(10))
    wait_until(lambda: told.tried == 1)
    box.put(items(80))
    assert (box.waiting, box.dropped, box.full) == (50, 30, True)
    told.gate.set()
    wait_until(lambda: box.sent == 60)
    told.gate.clear()
    box.put(items(40, size=3_000))
    box.put(items(5))
    assert box.dropped == 35
    told.gate.set()
    box.close()
    assert (box.sent, box.dropped, box.failed) == (100, 35, 0)


def test_an_outage_is_retried_and_reported_once(told: Told) -> None:
    told.answers = [Outage("gone"), Outage("gone", retry_after=0.01), Outage("gone")]
    box = BatchQueue("x", told, QueueBounds(linger=0))
    box.put(items(4))
    wait_until(lambda: box.sent == 4)
    assert (told.tried, box.trouble) == (4, None)
    box.close()


def test_refused_items_fail_and_the_others_are_sent(told: Told) -> None:
    told.answers = [Refused("no such thing"), 1, RuntimeError("a mistake")]
    box = BatchQueue("x", told, QueueBounds(batch_items=2, linger=0))
    box.put(items(8))
    box.close()
    assert (box.sent, box.dropped, box.failed) == (3, 0, 5)


def test_a_reader_that_sees_a_count_sees_its_reason(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []

    class Log:
        def warning(self, event: str, **_: object) -> None:
            counted.append(box.failed)

        def info(self, event: str, **_: object) -> None:
            counted.append(box.sent)

    monkeypatch.setattr(batch_queue, "log", Log())
    told.answers = [Refused("no such thing")]
    box = BatchQueue("x", told, QueueBounds(batch_items=2, linger=0))
    box.put(items(4))
    box.close()
    assert (counted, box.sent, box.failed) == ([0, 0], 2, 2)


def test_closing_does_not_wait_for_ever(told: Told) -> None:
    told.gate.clear()
    box = BatchQueue("x", told, QueueBounds(batch_items=2, linger=0))
    box.put(items(7))
    wait_until(lambda: told.tried == 1)
    box.close(0.05)
    assert (box.sent, box.dropped, box.failed) == (0, 7, 0)
    told.gate.set()
    wait_until(lambda: told.batches)
    assert (box.sent, box.dropped, box.failed) == (0, 7, 0)
    box.put(items(2))
    assert box.dropped == 9


def test_nothing_is_started_for_nothing(told: Told) -> None:
    before = threading.active_count()
    box = BatchQueue("x", told, QueueBounds())
    box.put([])
    assert threading.active_count() == before
    box.close()
