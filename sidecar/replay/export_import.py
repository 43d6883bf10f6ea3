"""Export and import of dead letters with exact bytes.

Redacted parts are left out, and named: such a letter can be imported only while its origin still has the record. The
import of a letter and its ledger entry are one transaction: the same file imported twice, or at two sidecars, writes
each letter once.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence

from msgspec.structs import replace

from sidecar.dead_letters.dialects import read
from sidecar.dead_letters.ledger_entries import (
    Actor,
    LedgerAction,
    current_entry,
    decode_entry,
    encode_entry,
    entry_keys,
    ledger_stream,
    new_entry,
)
from sidecar.dead_letters.reader import LetterSource
from sidecar.dead_letters.store import DeadLetterFilter, DeadLetterStore
from sidecar.domain.errors import Refused
from sidecar.domain.model import DeadLetter, Headers, Outgoing, Record
from sidecar.domain.ports.ledger import LedgerTransaction, LedgerWrite
from sidecar.domain.ports.record_decoder import RecordDecoder
from sidecar.domain.redaction import Redactor
from sidecar.replay.models import LetterOutcome
from sidecar.replay.ports import ExportedLetter
from sidecar.replay.record_builder import choose_timestamp

MAX_TRIES = 3
LEFT_OUT = "its redacted parts were not exported"
MESSAGE = "tracecar.message"
_TRACE = re.compile(r"stack", re.IGNORECASE)
"""Names of headers with stack traces, in any dialect: those may quote anything."""
_TELLS = re.compile(r"(message|reason|cause)(?!.*(fqcn|class))", re.IGNORECASE)
"""Names of headers that tell of an error in words."""


class LetterTransfer:
    """Exports and imports dead letters. `clock` returns microseconds since 1970."""

    def __init__(
        self,
        sources: Sequence[LetterSource],
        store: DeadLetterStore,
        payloads: RecordDecoder,
        redactor: Redactor,
        clock: Callable[[], int],
    ) -> None:
        self._sources, self._store, self._payloads = sources, store, payloads
        self._redactor, self._clock = redactor, clock

    # --- out

    async def export(self, wanted: DeadLetterFilter, limit: int = 0) -> AsyncIterator[ExportedLetter]:
        """Yield matching letters, stream by stream in order.

        Raises Refused at the end if something could not be read.
        """
        notes: list[str] = []
        count = 0
        async for letter in self._store.each(replace(wanted, by_state=True), notes):
            yield await self._export_letter(letter)
            count += 1
            if count == limit:
                return
        if notes:
            raise Refused("; ".join(dict.fromkeys(notes)))

    async def _export_letter(self, letter: DeadLetter) -> ExportedLetter:
        written = letter.written
        if written is None:
            raise Refused(f"{letter.position}: the letter's own bytes are missing")
        hidden: list[str] = []
        key, value, headers = written.key, written.value, written.headers
        if self._redactor.active:
            if value and await self._hides_body(letter):
                hidden, value = [*hidden, "body"], None
            if key is not None and self._redactor.hides_key_bytes(key):
                hidden, key = [*hidden, "key"], None
            headers = self._headers(letter, written, hidden)
        return ExportedLetter(
            id=letter.id,
            position=letter.position,
            stream=letter.position.stream,
            partition=letter.position.partition,
            key=key,
            value=value,
            headers=headers,
            timestamp=written.timestamp,
            value_at=written.value_at,
            hidden=tuple(hidden),
            state=letter.state,
        )

    async def _hides_body(self, letter: DeadLetter) -> bool:
        record = letter.record
        if record is None or record.value is None:
            return False
        (decoded,) = await self._payloads.open([record])
        if not decoded.has_body:
            return self._redactor.raw(record.value) != record.value
        return bool(self._redactor.body(decoded.body) != decoded.body)

    def _headers(self, letter: DeadLetter, written: Record, hidden: list[str]) -> Headers:
        """Return the headers without hidden values. Headers that describe the failure may quote them."""
        shown = self._redactor.letter(letter)
        ours = {
            MESSAGE: shown.message != letter.message,
            "tracecar.path": shown.path != letter.path,
            "tracecar.event-id": shown.event_id != letter.event_id,
            "tracecar.event-type": shown.type != letter.type,
            "tracecar.aggregate-id": shown.aggregate_id != letter.aggregate_id,
        }
        kept_texts = {
            MESSAGE: shown.message.encode("utf-8", "backslashreplace"),
            "tracecar.path": None if shown.path is None else shown.path.encode("utf-8", "backslashreplace"),
        }
        own = frozenset(letter.record.headers) if letter.record is not None else frozenset()
        masked = self._redactor.headers(written.headers, flat=written.value is None)
        kept: list[tuple[str, bytes | None]] = []
        for header, (_, seen) in zip(written.headers, masked, strict=True):
            name, value = header
            describes_failure = header not in own and bool(
                _TRACE.search(name) or (ours[MESSAGE] and _TELLS.search(name))
            )
            if value is None or not (seen != value or ours.get(name, False) or describes_failure):
                kept.append(header)
                continue
            hidden.append(f"header:{name}")
            # Of our own message what may be shown is kept, so that the letter still says why it is one.
            kept.append((name, kept_texts.get(name)))
        return tuple(kept)

    # --- in

    async def import_letters(self, letters: AsyncIterable[ExportedLetter], who: Actor) -> AsyncIterator[LetterOutcome]:
        """Write letters into their streams, unless they are there. Raises Outage, Refused."""
        async for letter in letters:
            yield await self._take(letter, who)

    async def _take(self, exported: ExportedLetter, who: Actor) -> LetterOutcome:
        system = exported.position.system

        def refuse(why: str) -> LetterOutcome:
            return LetterOutcome(id=exported.id, done=False, state="unknown", why=why)

        source = next((candidate for candidate in self._sources if candidate.broker.system == system), None)
        if source is None:
            return refuse(f"no {system} source is configured here")
        if exported.position.stream != exported.stream or not await self._store.reads(system, exported.stream):
            return refuse(f"{exported.stream} is not a dead-letter stream of a watched stream")
        record = Record(
            exported.position, exported.key, exported.value, exported.headers, exported.timestamp, exported.value_at
        )
        letter = read(record, source.naming)
        try:
            there = await source.broker.read(exported.position)
            if there is not None and read(there, source.naming).id == letter.id and there.timestamp == record.timestamp:
                entry = current_entry(await source.broker.ledger.entries(ledger_stream(letter), entry_keys(letter)))
                state = "open" if entry is None else entry.state
                return LetterOutcome(id=letter.id, done=True, state=state, why="it is still there")
            if exported.hidden:
                whole = await _whole(source, letter, record, exported.hidden)
                if isinstance(whole, str):
                    return refuse(f"{LEFT_OUT} ({', '.join(exported.hidden)}), and {whole}")
                record = whole
            return await self._write(source, letter, record, who)
        except Refused as error:
            return refuse(str(error))

    async def _write(self, source: LetterSource, letter: DeadLetter, record: Record, who: Actor) -> LetterOutcome:
        ledger, names = source.broker.ledger, entry_keys(letter)
        own = next(n for n, name in enumerate(names) if name.startswith(f"{letter.id} "))
        retention = await source.broker.retention(record.position.stream)
        outgoing = Outgoing(
            stream=record.position.stream,
            key=record.key,
            value=record.value,
            headers=record.headers,
            partition=record.position.partition,
            timestamp=choose_timestamp(retention, record.timestamp),
            value_at=record.value_at,
        )
        for _ in range(MAX_TRIES):
            stands = await ledger.entries(ledger_stream(letter), names)
            # By the letter's own id: another letter of its origin that was taken in is not this one.
            entry = decode_entry(stands[own])
            if entry is not None and any(deed.act == "imported" for deed in entry.actions):
                return LetterOutcome(id=letter.id, done=True, state=entry.state, why="it was imported before")
            before = current_entry(stands) or new_entry(letter)
            deed = LedgerAction(act="imported", at=self._clock(), by=who.name, address=who.address)
            after = encode_entry(before.with_action(deed, before.state))
            entries = tuple([LedgerWrite(name, stood, after) for name, stood in zip(names, stands, strict=True)])
            (done,) = await ledger.act([LedgerTransaction(ledger_stream(letter), entries, (outgoing,))])
            if done.carried_out:
                return LetterOutcome(id=letter.id, done=True, state=before.state)
        return LetterOutcome(
            id=letter.id, done=False, state="unknown", why="another operator changed it at the same time: try again"
        )


async def _whole(source: LetterSource, letter: DeadLetter, record: Record, hidden: Sequence[str]) -> Record | str:
    """Return the letter with its omitted parts read from the origin, or why they cannot be read.

    Values that a failure's headers quoted stay omitted. Raises Outage, Refused.
    """
    origin = letter.origin
    if origin is None:
        return "it does not name its origin"
    if origin.stream not in {status.partition.stream for status in await source.broker.status()}:
        return f"{origin} is not on a watched stream"
    origin_record = await source.broker.read(origin) if origin.system == source.broker.system else None
    if origin_record is None or origin_record.timestamp != letter.origin_timestamp:
        return f"the record at {origin} no longer exists"
    own = frozenset(letter.record.headers) if letter.record is not None else frozenset()
    values: dict[str, list[bytes | None]] = {}
    for name, value in origin_record.headers:
        values.setdefault(name, []).append(value)
    headers: list[tuple[str, bytes | None]] = []
    for name, value in record.headers:
        at_origin = values.get(name)
        if (name, value) in own and at_origin:
            headers.append((name, at_origin.pop(0)))
        elif value is not None or f"header:{name}" not in hidden:
            headers.append((name, value))
    return replace(
        record,
        key=origin_record.key if "key" in hidden else record.key,
        value=origin_record.value if "body" in hidden else record.value,
        headers=tuple(headers),
        value_at=origin_record.value_at,
    )
