"""The topology as lines: one for each stream, with its producers and consumer groups; more below a stream that is open.

Pure functions over the API's answers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from sidecar.api import models
from tui.text.time_format import micros

UNKNOWN_PRODUCER = "?"
MIN_COLLAPSED_STREAMS = 3
"""Streams with the same beginning that are worth a line of their own."""


@dataclass(slots=True)
class TopologyEdge:
    """Events of one producer in one stream, within the sample."""

    producer: str
    events: int = 0
    rejected: int = 0
    delays: list[float] = field(default_factory=list)
    """Milliseconds between occurrence and append."""
    rate: float = 0.0
    """Events per second, as a share of the stream's rate."""


@dataclass(frozen=True, slots=True)
class TopologyReader:
    """One consumer group of one stream."""

    group: models.GroupModel
    reading: models.GroupStreamModel
    stop: models.GroupStopModel | None
    """The event of this stream at which the group has stopped."""


@dataclass(frozen=True, slots=True)
class StreamNode:
    """A stream with its producers and its consumer groups."""

    status: models.StreamStatusModel
    producers: tuple[TopologyEdge, ...]
    readers: tuple[TopologyReader, ...]

    @property
    def stream(self) -> str:
        return self.status.stream

    @property
    def rejected(self) -> int:
        return sum(edge.rejected for edge in self.producers)


@dataclass(frozen=True, slots=True)
class TopologyLine:
    """One line: of streams with the same beginning, of a stream, or below it of a producer or a consumer group."""

    key: str
    nodes: tuple[StreamNode, ...]
    """The streams that the line is about; several where they are collapsed."""
    prefix: str = ""
    """Beginning that the names of collapsed streams have in common."""
    is_open: bool = False
    producer: TopologyEdge | None = None
    reader: TopologyReader | None = None

    @property
    def stream(self) -> str:
        return self.nodes[0].stream


def stream_nodes(
    status: models.ServiceStatus, groups: models.GroupPage, events: Sequence[models.EventModel]
) -> list[StreamNode]:
    """Return the streams by name, an order that stays as it is while events come and go."""
    edges: dict[str, dict[str, TopologyEdge]] = defaultdict(dict)
    for event in events:
        name = event.producer or UNKNOWN_PRODUCER
        edge = edges[event.stream].setdefault(name, TopologyEdge(name))
        edge.events += 1
        edge.rejected += event.status == "rejected"
        occurred, appended = micros(event.occurred_at), micros(event.appended_at)
        if occurred and appended:
            edge.delays.append((appended - occurred) / 1000)
    readers: dict[str, list[TopologyReader]] = defaultdict(list)
    for group in groups.items:
        stops = {stream_of(stop.position): stop for stop in group.stopped[::-1]}
        for reading in group.streams:
            readers[reading.stream].append(TopologyReader(group, reading, stops.get(reading.stream)))
    nodes = []
    for stream in sorted(status.streams, key=lambda stream: stream.stream):
        sending = sorted(edges[stream.stream].values(), key=lambda edge: (-edge.events, edge.producer))
        total = sum(edge.events for edge in sending) or 1
        for edge in sending:
            edge.rate = stream.rate * edge.events / total
        reading_here = sorted(readers[stream.stream], key=_urgency)
        nodes.append(StreamNode(stream, tuple(sending), tuple(reading_here)))
    return nodes


def _urgency(reader: TopologyReader) -> tuple[bool, float, str]:
    """Return a sort key: stopped groups come first, then those that are behind."""
    return reader.stop is None, -(reader.reading.behind_s or 0.0), reader.group.group


def topology_lines(
    nodes: Sequence[StreamNode], opened: Collection[str] = (), prefixes: Collection[str] = ()
) -> list[TopologyLine]:
    """Return the lines of streams.

    Args:
        nodes: Streams, by name.
        opened: Streams whose producers and groups have lines of their own, and prefixes whose streams have.
        prefixes: Beginnings that streams are collapsed by.
    """
    lines: list[TopologyLine] = []
    collapsed: dict[str, list[StreamNode]] = defaultdict(list)
    for node in nodes:
        prefix = prefix_of(node.stream, prefixes)
        collapsed[prefix or node.stream].append(node)
    for name, some in collapsed.items():
        if name not in prefixes:
            lines += _stream_lines(some[0], opened)
            continue
        is_open = name in opened
        lines.append(TopologyLine(f"prefix {name}", tuple(some), name, is_open))
        for node in some if is_open else ():
            lines += _stream_lines(node, opened)
    return lines


def _stream_lines(node: StreamNode, opened: Collection[str]) -> Iterable[TopologyLine]:
    is_open = node.stream in opened
    yield TopologyLine(f"stream {node.stream}", (node,), is_open=is_open)
    if not is_open:
        return
    for edge in node.producers:
        yield TopologyLine(f"producer {node.stream} {edge.producer}", (node,), producer=edge)
    for reader in node.readers:
        yield TopologyLine(f"group {node.stream} {reader.group.group}", (node,), reader=reader)


def common_prefixes(streams: Iterable[str]) -> list[str]:
    """Return the beginnings, up to a dot, that several streams share but not all."""
    names = list(streams)
    counts: dict[str, int] = defaultdict(int)
    for name in names:
        parts = name.split(".")
        for length in range(1, len(parts)):
            counts[".".join(parts[:length]) + "."] += 1
    fitting = [prefix for prefix, number in counts.items() if MIN_COLLAPSED_STREAMS <= number < len(names)]
    return [prefix for prefix in fitting if not any(other != prefix and prefix.startswith(other) for other in fitting)]


def prefix_of(stream: str, prefixes: Collection[str]) -> str:
    """Return the beginning by which a stream is collapsed; empty if it is not."""
    return next((prefix for prefix in prefixes if stream.startswith(prefix)), "")


def select_nodes(nodes: Sequence[StreamNode], query: str) -> list[StreamNode]:
    """Return the streams that a search selects.

    `stream:NAME` selects a stream and what is next to it: the streams that its producers consume, and those that its
    consumers produce. `service:NAME` selects what a service produces and consumes. Other words select streams by a part
    of the name of a stream, a producer or a group.
    """
    kind, _, name = query.partition(":")
    if kind == "service":
        return [node for node in nodes if name in services_of(node)]
    if kind == "stream":
        start = next((node for node in nodes if node.stream == name), None)
        if start is None:
            return []
        sending = {edge.producer for edge in start.producers}
        reading = {reader.group.group for reader in start.readers}
        return [
            node
            for node in nodes
            if node is start
            or any(_is_same_service(reader.group.group, name) for reader in node.readers for name in sending)
            or any(_is_same_service(name, edge.producer) for edge in node.producers for name in reading)
        ]
    words = query.lower().split()
    return [
        node
        for node in nodes
        if all(any(word in name.lower() for name in (node.stream, *services_of(node))) for word in words)
    ]


def services_of(node: StreamNode) -> list[str]:
    """Return the producers and the consumer groups of a stream."""
    return [edge.producer for edge in node.producers] + [reader.group.group for reader in node.readers]


def _is_same_service(group: str, producer: str) -> bool:
    """Guess that a consumer group belongs to a producer: their names are equal, but for parts before or after."""
    return (
        group == producer
        or group.endswith((f".{producer}", f"-{producer}"))
        or group.startswith((f"{producer}.", f"{producer}-"))
    )


def stream_of(position: str) -> str:
    """Return the stream of a position such as `kafka://orders/0/4711`."""
    return unquote(position.partition("://")[2].partition("/")[0], errors="surrogateescape")
