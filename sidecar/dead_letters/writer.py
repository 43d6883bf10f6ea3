"""From a rejected record to the record that stands for it in the dead-letter stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from sidecar.dead_letters.dialects import foreign_writers, tracecar
from sidecar.domain.model import Decoded, Event, Headers, Outgoing
from sidecar.domain.stream_names import StreamNames


class DeadLetterWriter:
    """Writes dead letters for one group of one broker, with the headers of further `dialects` beside ours."""

    def __init__(
        self, naming: StreamNames, group: str, service: str, clock: Callable[[], int], dialects: Sequence[str] = ()
    ) -> None:
        self._naming, self._group, self._service = naming, group, service
        self._dialects = tuple(dict.fromkeys(dialects))
        self._clock = clock
        """Microseconds since 1970."""

    def write(self, decoded: Decoded) -> Outgoing:
        """The dead letter of a rejected record: its key, its value's bytes and its headers in order, then ours."""
        return self._letter(decoded, tracecar.write(decoded, self._group, self._service, self._clock()))

    def report(
        self, decoded: Decoded, group: str, attempts: int, nowhere: str | None, stacktrace: str | None
    ) -> Outgoing:
        """The dead letter of a record that a service could not process (see `dialects.tracecar.write`)."""
        ours = tracecar.write(decoded, group, self._service, self._clock(), attempts=attempts, nowhere=nowhere)
        if stacktrace:
            ours += ((tracecar.STACKTRACE_HEADER, stacktrace.encode("utf-8", "backslashreplace")),)
        letter = self._letter(decoded, ours)
        return letter if nowhere is None else replace(letter, partition=None, origin=None)

    def _letter(self, decoded: Decoded, ours: Headers) -> Outgoing:
        record = decoded.record
        own = tracecar.own_headers(record.headers, self._dialects)
        if self._dialects:
            ours += ((tracecar.DIALECTS_HEADER, ",".join(self._dialects).encode()),)
            ours += foreign_writers.write(decoded, self._group, tracecar.attempt_number(record.headers), self._dialects)
        return Outgoing(
            stream=self._naming.dead_letter_stream(record.position.stream),
            key=record.key,
            value=record.value,
            headers=own + ours,
            partition=record.position.partition,
            origin=record.position,
            value_at=record.value_at,
        )


DeadLetterCallback = Callable[[Event, str, str], None]
"""Hears of an event, with its rejection, whose dead letter is durable now: for which group, and the letter's id."""


def ignore_dead_letter(event: Event, group: str, id: str) -> None:
    """Where nobody listens."""


def shrink_dead_letter(letter: Outgoing) -> Outgoing | None:
    """The same letter with the next part left out, and marked so: the body first, then the record's own headers, then
    the key. None where nothing is left to leave out."""
    said = dict(letter.headers)
    omitted = tracecar.parse_list(tracecar.text(said.get(tracecar.OMITTED_HEADER)))
    dialects = tracecar.parse_list(tracecar.text(said.get(tracecar.DIALECTS_HEADER)))
    own = tracecar.own_headers(letter.headers, dialects)
    prefixes = (tracecar.PREFIX, *foreign_writers.prefixes(dialects))
    ours = tuple(h for h in letter.headers if h[0].startswith(prefixes) and h[0] != tracecar.OMITTED_HEADER)
    if letter.value is not None:
        return replace(letter, value=None, headers=own + ours + _mark(*omitted, "body"))
    if own:
        return replace(letter, headers=ours + _mark(*omitted, "headers"), value_at=0)
    if letter.key is not None:
        return replace(letter, key=None, headers=ours + _mark(*omitted, "key"))
    return None


def _mark(*parts: str) -> tuple[tuple[str, bytes], ...]:
    return ((tracecar.OMITTED_HEADER, ",".join(parts).encode()),)
