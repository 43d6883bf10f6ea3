"""Router of a batch's outgoing records: dead letters of rejected records and, for a gate, the valid records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sidecar.dead_letters.writer import shrink_dead_letter
from sidecar.domain.model import Decoded, Outgoing, Record
from sidecar.domain.stream_names import StreamNames


class OutputRouter:
    """Builds the outgoing records for one broker."""

    def __init__(
        self, write_letter: Callable[[Decoded], Outgoing] | None, naming: StreamNames, gate: Mapping[str, str]
    ) -> None:
        """Create a router.

        Args:
            write_letter: Writes a dead letter; None if dead letters are disabled.
            naming: Distinguishes dead-letter streams from others.
            gate: Target stream of the valid records, by raw stream.
        """
        self._write_letter, self._naming, self._gate = write_letter, naming, gate

    def route(self, stream: str, decoded: Sequence[Decoded], rejected: Sequence[Decoded]) -> list[Outgoing]:
        """Return all records that the commit of these records of one stream publishes, in their order."""
        target = self._gate.get(stream)
        if target is None:
            return [] if self._write_letter is None else [self._write_letter(each) for each in rejected]
        outgoing: list[Outgoing] = []
        for each in decoded:
            if each.event.rejection is None:
                outgoing.append(pass_through(each, target))
            elif self._write_letter is not None:
                outgoing.append(self._write_letter(each))
        return outgoing

    def count_letters(self, stream: str, outgoing: Sequence[Outgoing]) -> int:
        """Return the number of dead letters among the outgoing records of a stream."""
        target = self._gate.get(stream)
        return len(outgoing) if target is None else sum(each.stream != target for each in outgoing)

    def is_letter(self, outgoing: Outgoing) -> bool:
        """Check whether an outgoing record is a dead letter."""
        return self._naming.is_dead_letter(outgoing.stream)

    def write_letter(self, decoded: Decoded) -> Outgoing | None:
        """Return the dead letter of a rejected record; None if dead letters are disabled."""
        return None if self._write_letter is None else self._write_letter(decoded)

    def shrink(self, outgoing: Outgoing) -> Outgoing | None:
        """Return a dead letter without its next part, to fit the broker's limit; None if no part is left."""
        return shrink_dead_letter(outgoing)


def pass_through(decoded: Decoded, target: str) -> Outgoing:
    """Build the record for the stream behind the gate.

    It is unchanged, has the same timestamp, and goes to the same partition, which keeps the order.
    """
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


def restore_passed(outgoing: Outgoing) -> Record | None:
    """Return the record that `pass_through` copied; None if the outgoing record has no origin."""
    if outgoing.origin is None:
        return None
    return Record(
        outgoing.origin,
        outgoing.key,
        outgoing.value,
        outgoing.headers,
        outgoing.timestamp or 0,
        value_at=outgoing.value_at,
    )
