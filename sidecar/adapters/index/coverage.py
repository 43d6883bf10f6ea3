"""Coverage of an index, as the pipeline reports it."""

from __future__ import annotations

from sidecar.domain.ports.index import Coverage
from sidecar.domain.position import Partition


class CoveredPartitions:
    """The covered partitions with their start, and those that were covered before."""

    def __init__(self) -> None:
        self._since: dict[Partition, int] = {}
        self._filling: set[Partition] = set()
        self._former: set[Partition] = set()

    def covering(self, partition: Partition, since_ms: int) -> None:
        self._since[partition] = since_ms
        self._former.discard(partition)

    def filling(self, partition: Partition, under_way: bool) -> None:
        if under_way:
            self._filling.add(partition)
        else:
            self._filling.discard(partition)

    def forget(self, partition: Partition) -> None:
        if self._since.pop(partition, None) is not None:
            self._former.add(partition)
        self._filling.discard(partition)

    def answer(self, events: int, evicted: int, cut: int, horizon: int | None) -> Coverage:
        """Build the coverage. Events appended up to `horizon` (milliseconds) may have been evicted."""
        since = max(self._since.values(), default=None)
        if horizon is not None:
            since = horizon + 1 if since is None else max(since, horizon + 1)
        notes = []
        if cut:
            notes.append(f"flows longer than the index's window have lost their first events ({cut} so far)")
        if self._former:
            streams = ", ".join(sorted({partition.stream for partition in self._former})[:5])
            notes.append(
                f"{len(self._former)} partitions that were read here are now another member's ({streams}): their newer "
                "events are not here"
            )
        return Coverage(
            events=events,
            evicted=evicted,
            since=since,
            partitions=sorted(self._since),
            filling=bool(self._filling),
            note="; ".join(notes) or None,
        )
