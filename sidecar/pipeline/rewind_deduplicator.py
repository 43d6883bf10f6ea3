"""What of a lane's records was shown and counted, so that going back to what is committed does neither twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sidecar.domain.model import Decoded
from sidecar.pipeline.stream_counters import StreamCounter


class EventSink(Protocol):
    """Where judged records are shown: the index, the live stream, the exporters."""

    def show(self, decoded: Sequence[Decoded], *, again: bool) -> None:
        """`again`: only the index needs them; everybody else has heard of them before the rewind."""


class RewindDeduplicator:
    """Shows and counts each record once, whatever is rewound: an event when it is first seen, its rejection when it is
    first known."""

    def __init__(self, sink: EventSink, counter: StreamCounter) -> None:
        self._sink, self._counter = sink, counter
        self.high = -1
        """The highest offset that was judged."""
        self._known = -1
        """The highest offset whose verdict was counted."""
        # The same, as of the last rewind.
        self._again_until = self._known_until = -1

    def show(self, decoded: Sequence[Decoded], rejected: Sequence[Decoded], *, unchecked: bool) -> None:
        """A judged batch, in order, not empty, and those of it that are rejected. `unchecked`: what it says is not the
        last word, it comes again once the registry can be asked."""
        last = decoded[-1].record.position.offset
        seen = 0
        if decoded[0].record.position.offset <= self._again_until:
            seen = sum(one.record.position.offset <= self._again_until for one in decoded)
            self._sink.show(decoded[:seen], again=True)
            late = [one for one in rejected if self._known_until < one.record.position.offset <= self._again_until]
            self._sink.show(late, again=False)
        if seen < len(decoded):
            self._sink.show(decoded[seen:] if seen else decoded, again=False)
            self._counter.seen(len(decoded) - seen)
        self.high = max(self.high, last)
        if not unchecked:
            self._counter.reject(
                one.event.rejection.code
                for one in rejected
                if one.event.rejection is not None and one.record.position.offset > self._known_until
            )
            self._known = max(self._known, last)

    def rewound(self) -> None:
        """What comes now was here before, up to the highest offset so far."""
        self._again_until, self._known_until = self.high, self._known

    def forget(self) -> None:
        """The partition was created again: what has these offsets now was not here before."""
        self.high = self._known = self._again_until = self._known_until = -1
