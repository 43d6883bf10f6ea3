"""Failures that services report themselves.

An event that a service could not process becomes a dead letter that is durable before the reply, and only one, however
often it is reported. The letter and its ledger entry are one transaction, which requires that the entry does not exist
yet. A crash before the transaction leaves nothing, and the service reports again. After a crash between transaction and
reply, the service reports again and the entry is found. Of two reports at once, at one sidecar or two, the second finds
the entry of the first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from sidecar.dead_letters.dialects import tracecar
from sidecar.dead_letters.dialects.tracecar import UNKNOWN_TIMESTAMP_MS
from sidecar.dead_letters.ledger_entries import Actor, LedgerAction, encode_entry, entry_keys, ledger_stream, new_entry
from sidecar.dead_letters.reader import LetterSource
from sidecar.dead_letters.writer import DeadLetterCallback, DeadLetterWriter, ignore_dead_letter, shrink_dead_letter
from sidecar.domain.errors import NotFoundError, Refused, TooLarge
from sidecar.domain.model import Outgoing, Record, Rejection
from sidecar.domain.ports.ledger import LedgerTransaction, LedgerWrite
from sidecar.domain.ports.record_decoder import RecordDecoder
from sidecar.domain.position import Position
from sidecar.replay.models import ReportResult
from sidecar.replay.ports import ReportedFailure
from sidecar.replay.record_builder import InSight

MAX_STACKTRACE = tracecar.MAX_HEADER_BYTES
"""Bytes of a stack trace to keep, from its beginning and its end."""
MAX_GROUP_CHARACTERS = 500
MAX_ATTEMPTS = 1_000_000
MAX_TEXT_CHARACTERS = 1_900


class FailureReports:
    """Stores reported failures as dead letters.

    `writer` returns the writer for a source; `clock` returns microseconds since 1970; `dead_lettered` is called for
    every durable letter.
    """

    def __init__(
        self,
        sources: Sequence[LetterSource],
        payloads: RecordDecoder,
        in_sight: InSight,
        writer: Callable[[LetterSource], DeadLetterWriter],
        clock: Callable[[], int],
        dead_lettered: DeadLetterCallback = ignore_dead_letter,
    ) -> None:
        self._dead_lettered = dead_lettered
        self._sources, self._payloads, self._in_sight = sources, payloads, in_sight
        self._writer, self._clock = writer, clock

    async def report(self, failure: ReportedFailure, who: Actor) -> ReportResult:
        """Store a failure.

        Raises NotFoundError if there is no visible record at the position, Refused, Outage.
        """
        if not failure.group.strip() or len(failure.group) > MAX_GROUP_CHARACTERS or not failure.group.isprintable():
            raise Refused(
                f"group: expected the name of a consumer group, at most {MAX_GROUP_CHARACTERS} printable characters"
            )
        source, record = await self._record(failure)
        if not source.naming.written:
            raise Refused("dead letters are not written here: dead_letters.enabled is false")
        (decoded,) = await self._payloads.open([record])
        message = f"{failure.type}: {failure.message}" if failure.message else failure.type
        decoded.event.rejection = Rejection("reported.error", message[:MAX_TEXT_CHARACTERS])
        nowhere = None if failure.position is not None else f"sha256:{compute_digest(record)}"
        letter: Outgoing | None = self._writer(source).report(
            decoded,
            failure.group,
            min(max(failure.attempts, 1), MAX_ATTEMPTS),
            nowhere,
            _shorten_stacktrace(failure.stacktrace),
        )
        while letter is not None:
            try:
                reported = await self._write(source, letter, who)
            except TooLarge as error:
                if nowhere is not None:
                    raise Refused(
                        f"the reported record does not fit into a dead letter: {error}. Report the `position` of the "
                        "record instead, so that the letter can refer to it"
                    ) from error
                letter = shrink_dead_letter(letter)
            else:
                if reported.created:
                    self._dead_lettered(decoded.event, failure.group, reported.id)
                return reported
        raise Refused(
            "the broker accepts no dead letter of this record, not even without body and headers: raise its limit for "
            "the size of a record"
        )

    async def _write(self, source: LetterSource, letter: Outgoing, who: Actor) -> ReportResult:
        read = tracecar.read(Record(_letter_position(source, letter), letter.key, letter.value, letter.headers, 0))
        assert read is not None
        # By the letter's own id alone: another letter of this origin, and what became of it, does not swallow this one.
        key = next(key for key in entry_keys(read) if key.startswith(f"{read.id} "))
        entry = new_entry(read).with_action(
            LedgerAction(act="reported", at=self._clock(), by=who.name, address=who.address), "open"
        )
        act = LedgerTransaction(
            ledger_stream(read) if read.origin is not None else read.stream,
            (LedgerWrite(key, None, encode_entry(entry)),),
            (letter,),
        )
        (done,) = await source.broker.ledger.act([act])
        position = done.positions[0] if done.positions else None
        return ReportResult(id=read.id, position=position, created=done.carried_out)

    async def _record(self, failure: ReportedFailure) -> tuple[LetterSource, Record]:
        if failure.position is not None:
            return await self._at(failure.position)
        reported = failure.record
        if reported is None:
            raise Refused("expected a position or a record")
        for source in self._sources:
            system = source.broker.system
            if await self._in_sight(system, reported.stream):
                position = Position(system, reported.stream, 0, 0)
                # Without a timestamp none is made up: the same report twice must be the same letter.
                timestamp = UNKNOWN_TIMESTAMP_MS if reported.timestamp is None else reported.timestamp
                return source, Record(position, reported.key, reported.value, reported.headers, timestamp)
        raise NotFoundError(f"no watched stream has the name {reported.stream!r}; tracecar streams lists them")

    async def _at(self, position: Position) -> tuple[LetterSource, Record]:
        source = next((candidate for candidate in self._sources if candidate.broker.system == position.system), None)
        if source is None:
            raise NotFoundError(f"{position}: no {position.system} source is configured here")
        if not await self._in_sight(position.system, position.stream):
            raise NotFoundError(
                f"{position}: no watched stream has the name {position.stream!r}; tracecar streams lists them"
            )
        record = await source.broker.read(position)
        if record is None:
            raise NotFoundError(f"{position}: the broker has no record there; send the record itself instead")
        return source, record


def compute_digest(record: Record) -> str:
    """Compute the digest that identifies a record without a position.

    It is SHA-256 over stream, key, value, headers and timestamp (in decimal digits). Each part is preceded by its
    length (8 bytes, big-endian; 2^64-1 for null or unknown parts), the headers by their number (8 bytes), each header
    by its name, then its value.
    """
    digest = hashlib.sha256()

    def add(part: bytes | None) -> None:
        digest.update((len(part) if part is not None else (1 << 64) - 1).to_bytes(8, "big"))
        digest.update(part or b"")

    add(record.position.stream.encode("utf-8", "surrogateescape"))
    add(record.key)
    add(record.value)
    add(len(record.headers).to_bytes(8, "big"))
    for name, value in record.headers:
        add(name.encode("utf-8", "surrogateescape"))
        add(value)
    add(None if record.timestamp == UNKNOWN_TIMESTAMP_MS else str(record.timestamp).encode())
    return digest.hexdigest()


def _shorten_stacktrace(stacktrace: str | None) -> str | None:
    if stacktrace is None:
        return None
    whole = stacktrace.encode("utf-8", "backslashreplace")
    if len(whole) <= MAX_STACKTRACE:
        return whole.decode()
    half = MAX_STACKTRACE // 2 - 30
    middle = f"\n… {len(whole) - 2 * half} bytes left out …\n"
    return whole[:half].decode("utf-8", "ignore") + middle + whole[-half:].decode("utf-8", "ignore")


def _letter_position(source: LetterSource, letter: Outgoing) -> Position:
    """Return the future position of the letter, with offset 0."""
    return Position(source.broker.system, letter.stream, 0, 0)
