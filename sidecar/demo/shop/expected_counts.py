"""What the shop knows that it has done: counted as its records are published, by the shop itself."""

from __future__ import annotations

from collections import Counter

from sidecar.demo.shop.handlers import Emission


class ExpectedCounts:
    """Counts, to hold against what a sidecar says."""

    def __init__(self) -> None:
        self.orders = 0
        self.published: Counter[str] = Counter()
        """Records by stream."""
        self.types: Counter[str] = Counter()
        """Records by type, sound or not."""
        self.rejections: Counter[str] = Counter()
        """Records that must be rejected, by code."""
        self.faults: Counter[str] = Counter()
        """Records by the name of what is wrong with them."""
        self.duplicates = 0
        self.unlinked = 0
        """Records that nothing connects with any order."""
        self.unreadable = 0
        """How often a service of the shop read a record and could not use it."""

    @property
    def events(self) -> int:
        """Everything published."""
        return self.published.total()

    @property
    def flows(self) -> int:
        """Each order is one; a record that nothing connects is one of its own."""
        return self.orders + self.unlinked

    def add(self, emission: Emission) -> None:
        """A record was published."""
        self.published[emission.service.stream] += 1
        self.types[emission.message.type] += 1
        self.duplicates += emission.repeat
        if emission.fault is None:
            return
        self.faults[emission.fault.name] += 1
        self.unlinked += emission.fault.unlinked
        if emission.fault.code is not None:
            self.rejections[emission.fault.code] += 1
