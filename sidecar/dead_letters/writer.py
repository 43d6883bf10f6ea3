"""Writer of dead letters: builds the record for the dead-letter stream from a rejected record.

The record keeps its bytes. What is written beside it quotes no redacted value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from sidecar.dead_letters.dialects import tracecar
from sidecar.dead_letters.dialects.foreign import header_prefixes, write_headers
from sidecar.domain.failure_fingerprint import cause_fingerprint
from sidecar.domain.model import Decoded, Event, Headers, Outgoing
from sidecar.domain.redaction import Redactor
from sidecar.domain.stream_names import StreamNames


class DeadLetterWriter:
    """Builds dead letters of one consumer group of one broker, with the headers of further `dialects` if configured."""

    def __init__(
        self,
        naming: StreamNames,
        group: str,
        service: str,
        clock: Callable[[], int],
        dialects: Sequence[str] = (),
        redactor: Redactor | None = None,
    ) -> None:
        self._naming, self._group, self._service = naming, group, service
        self._redactor = redactor or Redactor(())
        self._dialects = tuple(dict.fromkeys(dialects))
        self._clock = clock
        """Returns microseconds since 1970."""

    def write(self, decoded: Decoded) -> Outgoing:
        """Build the dead letter of a rejected record: its key, its value's bytes, its headers in order, then ours."""
        shown = self._redact(decoded)
        return self._letter(shown, tracecar.write(shown, self._group, self._service, self._clock()))

    def report(
        self, decoded: Decoded, group: str, attempts: int, digest: str | None, stacktrace: str | None
    ) -> Outgoing:
        """Build the dead letter of a record that a service could not process (see `dialects.tracecar.write`).

        If its words may quote hidden values, they are left out, and the fingerprint of its cause is added.
        """
        shown = self._redact(decoded)
        added = tracecar.write(shown, group, self._service, self._clock(), attempts=attempts, digest=digest)
        stack: Headers = ()
        if stacktrace:
            stack = ((tracecar.STACKTRACE_HEADER, stacktrace.encode("utf-8", "backslashreplace")),)
        if self._redactor.hides_free_text:
            whole = tracecar.write(decoded, group, self._service, self._clock(), attempts=attempts, digest=digest)
            complete = tracecar.read(replace(decoded.record, headers=whole + stack))
            assert complete is not None, "it was written just now"
            added += ((tracecar.CAUSE_HEADER, cause_fingerprint(complete).encode()),)
        else:
            added += stack
        letter = self._letter(shown, added)
        return letter if digest is None else replace(letter, partition=None, origin=None)

    def _redact(self, decoded: Decoded) -> Decoded:
        return replace(decoded, event=self._redactor.described_event(decoded.event))

    def _letter(self, decoded: Decoded, added: Headers) -> Outgoing:
        record = decoded.record
        own = tracecar.own_headers(record.headers, self._dialects)
        if record.defect is not None:
            added += _mark_omitted("body", "headers")
        if self._dialects:
            added += ((tracecar.DIALECTS_HEADER, ",".join(self._dialects).encode()),)
            added += write_headers(decoded, self._group, tracecar.attempt_number(record.headers), self._dialects)
        return Outgoing(
            stream=self._naming.dead_letter_stream(record.position.stream),
            key=record.key,
            value=record.value,
            headers=own + added,
            partition=record.position.partition,
            origin=record.position,
            value_at=record.value_at,
        )


DeadLetterCallback = Callable[[Event, str, str], None]
"""Called when a dead letter is durable, with the rejected event, the consumer group, and the dead letter's id."""


def ignore_dead_letter(event: Event, group: str, id: str) -> None:
    """Do nothing. It is the `DeadLetterCallback` of callers that need none."""


def shrink_dead_letter(letter: Outgoing) -> Outgoing | None:
    """Drop the next part of a dead letter that is too large for the broker, and mark it as omitted.

    The body goes first, then the record's own headers, then the key. Returns None if no part is left.
    """
    facts = dict(letter.headers)
    omitted = tracecar.parse_list(tracecar.text(facts.get(tracecar.OMITTED_HEADER)))
    dialects = tracecar.parse_list(tracecar.text(facts.get(tracecar.DIALECTS_HEADER)))
    own = tracecar.own_headers(letter.headers, dialects)
    prefixes = (tracecar.PREFIX, *header_prefixes(dialects))
    added = tuple(h for h in letter.headers if h[0].startswith(prefixes) and h[0] != tracecar.OMITTED_HEADER)
    if letter.value is not None:
        return replace(letter, value=None, headers=own + added + _mark_omitted(*omitted, "body"))
    if own:
        return replace(letter, headers=added + _mark_omitted(*omitted, "headers"), value_at=0)
    if letter.key is not None:
        return replace(letter, key=None, headers=added + _mark_omitted(*omitted, "key"))
    return None


def _mark_omitted(*parts: str) -> tuple[tuple[str, bytes], ...]:
    return ((tracecar.OMITTED_HEADER, ",".join(parts).encode()),)
