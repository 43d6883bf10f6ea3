"""A batch while it waits for its decoding."""

from __future__ import annotations

from dataclasses import dataclass, field

from sidecar.domain.model import Decoded
from sidecar.domain.ports.broker import Batch


@dataclass
class PendingBatch:
    """A batch that is being decoded."""

    batch: Batch
    decoded: list[Decoded] = field(default_factory=list)
    unchecked: bool = False
    """True if its schemas are not available, so that it is decoded without them."""
    waiting: bool = False
    """True while a task fetches its schemas or decodes its large records, and then the rest of it."""
