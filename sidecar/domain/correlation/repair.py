"""Repair: a rejected event whose replay passed no longer makes its flow fail."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.domain.correlation.duplicates import parse_origin
from sidecar.domain.correlation.event_order import append_moment
from sidecar.domain.ports.index import Node
from sidecar.domain.position import Position

REPAIRED = "repaired"
MAX_REPLAY_STEPS = 100
"""Replays of replays that are followed."""


def is_repaired(nodes: Sequence[Node]) -> bool:
    """Return True if some of a flow's events were rejected, and each of these was replayed and passed.

    An event, all replays of it, and replays of those are the lives of one event; the latest life counts.
    """
    if all(node.event.replay_of is None for node in nodes) or all(node.event.rejection is None for node in nodes):
        return False
    origins = {
        node.event.position: origin
        for node in nodes
        if node.event.replay_of is not None and (origin := parse_origin(node.event.replay_of)) is not None
    }
    latest: dict[Position, Node] = {}
    for node in nodes:
        first = _find_first(node.event.position, origins)
        known = latest.get(first)
        if known is None or append_moment(known.event) < append_moment(node.event):
            latest[first] = node
    return all(node.event.rejection is None for node in latest.values())


def _find_first(position: Position, origins: dict[Position, Position]) -> Position:
    """Follow replays back to the position of the first life."""
    for _ in range(MAX_REPLAY_STEPS):
        if position not in origins:
            break
        position = origins[position]
    return position
