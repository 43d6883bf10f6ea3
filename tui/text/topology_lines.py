"""The topology as lines: which producers publish to a stream, and which groups consume it.

Pure functions over the API's answers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from sidecar.api import models
from tui.text import time_format
from tui.text.time_format import coarse, micros


@dataclass(slots=True)
class TopologyEdge:
    """Events of one producer in one stream, within the sample."""

    producer: str
    events: int = 0
    rejected: int = 0
    delays: list[float] = field(default_factory=list)
    """Milliseconds between occurrence and append."""


@dataclass(frozen=True, slots=True)
class TopologyLine:
    """One line of the drawing: part of a producer's line, of a stream's box, or of a group's line."""

    key: str
    stream: str
    row: int
    rows: int
    """Number of lines that the stream takes."""
    producer: TopologyEdge | None
    share: float
    """Events per second of this producer."""
    group: models.GroupModel | None
    reading: models.GroupStreamModel | None
    status: models.StreamStatusModel
    producers: int
    groups: int
    behind: str = ""
    """Age in seconds of the oldest event that the group has not consumed, estimated from the sample."""


def topology_lines(
    status: models.ServiceStatus, groups: models.GroupPage, events: list[models.EventModel]
) -> list[TopologyLine]:
    """Return the drawing stream by stream, the busiest first."""
    edges: dict[str, dict[str, TopologyEdge]] = defaultdict(dict)
    came: dict[str, list[int]] = defaultdict(list)
    for event in events:
        name = event.producer or "?"
        edge = edges[event.stream].setdefault(name, TopologyEdge(name))
        edge.events += 1
        edge.rejected += event.status == "rejected"
        occurred, appended = micros(event.occurred_at), micros(event.appended_at)
        if appended:
            came[event.stream].append(appended)
        if occurred and appended:
            edge.delays.append((appended - occurred) / 1000)
    readers: dict[str, list[tuple[models.GroupModel, models.GroupStreamModel]]] = defaultdict(list)
    for group in groups.items:
        for reading in group.streams:
            readers[reading.stream].append((group, reading))
    result: list[TopologyLine] = []
    for stream in sorted(status.streams, key=lambda status_of: (-status_of.events, status_of.stream)):
        sending = sorted(edges[stream.stream].values(), key=lambda edge: -edge.events)
        reading_here = readers[stream.stream]
        total = sum(edge.events for edge in sending) or 1
        rows = max(4, len(sending), len(reading_here))
        top, under = (rows - len(sending)) // 2, (rows - len(reading_here)) // 2
        for row in range(rows):
            sender = sending[row - top] if 0 <= row - top < len(sending) else None
            reader = reading_here[row - under] if 0 <= row - under < len(reading_here) else None
            result.append(
                TopologyLine(
                    f"{stream.stream} {row}", stream.stream, row, rows, sender,
                    stream.rate * sender.events / total if sender else 0.0,
                    reader[0] if reader else None, reader[1] if reader else None, stream,
                    len(sending), len(reading_here),
                    _behind(reader[1].lag, came[stream.stream]) if reader else "",
                )
            )  # fmt: skip
        result.append(TopologyLine(f"{stream.stream} end", stream.stream, -1, rows, None, 0, None, None, stream, 0, 0))
    return result


def _behind(lag: int | None, came: Sequence[int]) -> str:
    """Estimate the age of a group's lag.

    `came`: append times of the stream's newest events, newest first, over all partitions.
    """
    if not lag or not came:
        return ""
    known = min(lag, len(came))
    return f"{'~' if known == lag else '>'}{coarse(max(0, time_format.now() - came[known - 1]) / 1e6)}"


def stream_of(position: str) -> str:
    """Return the stream of a position such as `kafka://orders/0/4711`."""
    return unquote(position.partition("://")[2].partition("/")[0], errors="surrogateescape")
