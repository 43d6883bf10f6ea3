"""What the outcome of a batch writes: the dead letters of what fails and, before a service (*gate*), what passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sidecar.dead_letters import writer as letters
from sidecar.domain.model import Decoded, Outgoing
from sidecar.domain.stream_names import StreamNames


class OutputRouter:
    """Writes outcomes for one broker. `letter` writes a dead letter; None where dead letters are switched off. `gate`
    says for each raw stream to which one what passes goes."""

    def __init__(
        self, letter: Callable[[Decoded], Outgoing] | None, naming: StreamNames, gate: Mapping[str, str]
    ) -> None:
        self._letter, self._naming, self._gate = letter, naming, gate

    def write(self, stream: str, decoded: Sequence[Decoded], rejected: Sequence[Decoded]) -> list[Outgoing]:
        """Everything that committing these records of one stream publishes, in their order."""
        target = self._gate.get(stream)
        if target is None:
            return [] if self._letter is None else [self._letter(one) for one in rejected]
        outgoing: list[Outgoing] = []
        for one in decoded:
            if one.event.rejection is None:
                outgoing.append(pass_through(one, target))
            elif self._letter is not None:
                outgoing.append(self._letter(one))
        return outgoing

    def letters(self, stream: str, outgoing: Sequence[Outgoing]) -> int:
        """How many dead letters are in what was written for records of this stream."""
        target = self._gate.get(stream)
        return len(outgoing) if target is None else sum(one.stream != target for one in outgoing)

    def shrink(self, outgoing: Outgoing) -> Outgoing | None:
        """A letter with its next part left out. None for what can get no lighter: an event that passes a gate goes
        whole or not at all."""
        return letters.shrink_dead_letter(outgoing) if self._naming.is_dead_letter(outgoing.stream) else None


def pass_through(decoded: Decoded, target: str) -> Outgoing:
    """The record as it is, for the stream behind the gate: the same partition, so that order is kept, and the same
    timestamp where the stream keeps the producer's."""
    record = decoded.record
    return Outgoing(
        stream=target,
        key=record.key,
        value=record.value,
        headers=record.headers,
        partition=record.position.partition,
        timestamp=record.timestamp,
        origin=record.position,
        value_at=record.value_at,
    )
