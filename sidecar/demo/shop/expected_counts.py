"""Counts of the events that the shop publishes, updated while it publishes."""

from __future__ import annotations

from collections import Counter

from sidecar.demo.shop.handlers import Emission


class ExpectedCounts:
    """Counts to compare with those of a sidecar."""

    def __init__(self) -> None:
        self.orders = 0
        self.published: Counter[str] = Counter()
        """Records by stream."""
        self.types: Counter[str] = Counter()
        """Records by type, valid or not."""
        self.rejections: Counter[str] = Counter()
        """Records that must be rejected, by code."""
        self.faults: Counter[str] = Counter()
        """Records by the name of their fault."""
        self.duplicates = 0
        self.unlinked = 0
        """Flows without any link to an order: single records, and those of bad habits."""
        self.unreadable = 0
        """Number of records that a service of the shop read and was not able to use."""

    @property
    def events(self) -> int:
        """Number of published records."""
        return self.published.total()

    @property
    def flows(self) -> int:
        """Number of flows: one for each order, unlinked record and turn of a bad habit."""
        return self.orders + self.unlinked

    def add(self, emission: Emission) -> None:
        """Count a published record."""
        self.published[emission.service.stream] += 1
        self.types[emission.message.type] += 1
        self.duplicates += emission.repeat
        self.unlinked += emission.opens_flow
        if emission.fault is None:
            return
        self.faults[emission.fault.name] += 1
        self.unlinked += emission.fault.unlinked
        if emission.fault.code is not None:
            self.rejections[emission.fault.code] += 1
