"""Repaired flows: every rejected event was replayed, and a replay passed."""

from __future__ import annotations

import pytest

from sidecar.api.mappers.events import flow_status
from sidecar.domain.correlation.repair import is_repaired
from sidecar.domain.model import Event, Rejection
from sidecar.domain.ports.index import Node
from sidecar.domain.position import Position

REJECTION = Rejection("schema.mismatch", "x")


def node(offset: int, *, rejected: bool = False, replay_of: int | None = None) -> Node:
    origin = None if replay_of is None else f"tracecar.shop@kafka://orders/0/{replay_of}"
    event = Event(
        Position("kafka", "orders", 0, offset), None, offset, offset,
        rejection=REJECTION if rejected else None, replay_of=origin,
    )  # fmt: skip
    status = "rejected" if rejected else "replayed" if origin else "ok"
    return Node(event, status, 1, None, False, 0)


@pytest.mark.parametrize(
    ("nodes", "status"),
    [
        ([node(1)], "ok"),
        ([node(1, rejected=True)], "rejected"),
        ([node(1, rejected=True), node(2, replay_of=1)], "repaired"),
        ([node(1, rejected=True), node(2, replay_of=1), node(3, rejected=True)], "rejected"),
        ([node(1, rejected=True), node(2, rejected=True, replay_of=1)], "rejected"),
        ([node(1, rejected=True), node(2, rejected=True, replay_of=1), node(3, replay_of=2)], "repaired"),
        ([node(1, rejected=True), node(2, rejected=True, replay_of=1), node(3, replay_of=1)], "repaired"),
        ([node(1, rejected=True), node(2, replay_of=1), node(3, rejected=True, replay_of=1)], "rejected"),
        ([node(1), node(2, replay_of=1)], "replayed"),
    ],
)
def test_the_status_of_a_flow(nodes: list[Node], status: str) -> None:
    assert flow_status(nodes) == status
    assert flow_status(nodes[::-1]) == status


def test_a_circle_of_replays_ends() -> None:
    circle = [node(1, rejected=True, replay_of=2), node(2, rejected=True, replay_of=1)]
    assert not is_repaired(circle)
