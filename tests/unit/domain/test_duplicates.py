"""Replays of a record are distinguished from duplicates."""

from __future__ import annotations

from sidecar.domain.correlation.duplicates import original_of, parse_origin, status_of
from sidecar.domain.model import Event
from sidecar.domain.position import Position


def event(offset: int, replay_of: str | None = None, stream: str = "orders") -> Event:
    return Event(Position("kafka", stream, 0, offset), None, 1_000 + offset, 0, event_id="e-1", replay_of=replay_of)


def statuses(*events: Event) -> list[str]:
    return [status_of(one, original_of(one, events)) for one in events]


OURS = "billing@kafka://orders/0/0"
FOREIGN = "@kafka://orders-dlt/0/0"


def test_every_replay_of_a_record_is_a_replay() -> None:
    assert statuses(event(0), event(1, OURS), event(2, OURS), event(3, OURS)) == ["ok", *["replayed"] * 3]


def test_so_is_every_replay_of_a_foreign_dead_letter_that_does_not_state_its_origin() -> None:
    assert statuses(event(0), event(1, FOREIGN), event(2, FOREIGN), event(3, "@kafka://orders-dlt/0/7")) == [
        "ok", "replayed", "replayed", "replayed",
    ]  # fmt: skip


def test_replays_of_replays_and_of_records_that_are_gone_are_of_one_record() -> None:
    again = "billing@kafka://orders/0/1"
    assert statuses(event(0), event(1, OURS), event(2, again), event(3, OURS)) == ["ok", *["replayed"] * 3]
    assert statuses(event(1, OURS), event(2, OURS)) == ["replayed", "replayed"]
    assert statuses(event(5, "a@kafka://orders/0/4"), event(6, "b@kafka://orders/0/4")) == ["replayed", "replayed"]


def test_a_record_written_twice_stays_a_duplicate_and_so_does_the_replay_of_another() -> None:
    assert statuses(event(0), event(1), event(2, OURS)) == ["ok", "duplicate", "duplicate"]
    assert statuses(event(0), event(1), event(2, "g@kafka://orders/0/1")) == ["ok", "duplicate", "duplicate"]


def test_replays_that_refer_to_each_other_terminate() -> None:
    first, second = event(0, "g@kafka://orders/0/1"), event(1, OURS)
    assert statuses(first, second) in (["replayed", "replayed"], ["replayed", "duplicate"])


def test_an_id_that_is_none_has_no_origin() -> None:
    assert parse_origin("g@kafka://orders/0/1") == Position("kafka", "orders", 0, 1)
    assert [parse_origin(id) for id in ("@kafka://orders/0/1", "g@sha256:00", "g@kafka://orders", "")] == [None] * 4
