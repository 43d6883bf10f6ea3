"""Planner of one replay step: reads the letters again and decides for each, before anything is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Protocol

from msgspec import Struct

from sidecar.dead_letters.ledger_entries import (
    LedgerAction,
    LetterEntry,
    PathChange,
    current_entry,
    encode_entry,
    entry_keys,
    ledger_stream,
    new_entry,
)
from sidecar.dead_letters.reader import LetterSource
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.model import DeadLetter, Headers, Outgoing, Record
from sidecar.domain.ports.ledger import Ledger, LedgerTransaction, LedgerWrite
from sidecar.domain.position import Position
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker
from sidecar.replay.job_store import LetterRef
from sidecar.replay.letter_fetcher import estimate_bytes, fetch_letters
from sidecar.replay.models import BodyEdit, ReplayJob, UnsendableLetter
from sidecar.replay.record_builder import InSight, RecordBuilder
from sidecar.replay.selection import SKIP_REASONS

STEP_BYTES = 8 << 20
"""Approximate bytes of letters that a step holds in memory."""
GONE = "the letter was deleted by retention or a trim after it was selected"
PASSED = "a group has consumed it already: --again sends it to all groups once more, --group G to one, --to S elsewhere"
UNKNOWN = "it is unknown whether a group has consumed it: try again, or use --again, --group G or --to S"
KEPT_BACK = (PASSED, UNKNOWN)
"""Reasons for skipping letters that would be sent with `--again`, for one group, or to another stream."""
UNKNOWN_YET = (
    "it is unknown whether a group has consumed a letter's record (tracecar groups shows the reason). To send it "
    "regardless, cancel and start again with --again, --group G or --to S"
)
CHANGED = "its ledger entry was changed meanwhile by another operator or replay"


class EditedRecord(Protocol):
    """A record after an edit."""

    @property
    def value(self) -> bytes | None: ...

    @property
    def headers(self) -> Headers: ...

    @property
    def changes(self) -> tuple[PathChange, ...]: ...


class BodyEditor(Protocol):
    """Edits bodies. Raises UnsendableLetter if the result does not fit the schema, Outage, Refused."""

    async def __call__(self, record: Record, edit: BodyEdit, target: str) -> EditedRecord: ...


class ReplayItem(Struct, gc=False):
    """One letter of a step."""

    ref: LetterRef
    letter: DeadLetter | None = None
    outgoing: Outgoing | None = None
    changes: tuple[PathChange, ...] = ()
    skip: str | None = None
    """Reason why it is skipped."""
    fail: str | None = None
    """Reason why it cannot be sent."""
    sent: bool = False
    """True if this job sent it, now or before."""
    position: Position | None = None
    """New position."""
    warning: str | None = None
    """Reason why the record may differ from what a reader of the dead letter expects."""


class StepPlanner:
    """Plans the steps of one job.

    `wait_for_groups`: wait for unknown positions of consumer groups; otherwise the letter is skipped.
    """

    def __init__(
        self,
        source: LetterSource,
        tracker: ConsumerGroupTracker,
        editor: BodyEditor,
        in_sight: InSight,
        job: ReplayJob,
        *,
        wait_for_groups: bool = False,
    ) -> None:
        self._wait_for_groups = wait_for_groups
        self._source, self._tracker, self._editor = source, tracker, editor
        self._job, self._request = job, job.request
        self._sender = RecordBuilder(source.broker, in_sight, job.id, job.request.to, job.request.group)

    async def items(self, refs: Sequence[LetterRef], most: int = STEP_BYTES) -> list[ReplayItem]:
        """Prepare the first of these letters, up to about `most` bytes together but at least one.

        Raises Outage and Refused for problems that affect all of them; a problem of one letter is stored in its item.
        """
        positions = [_parse_position(ref, 0) for ref in refs]
        broker, naming = self._source.broker, self._source.naming
        letters, left = await fetch_letters(
            broker, naming, [position for position in positions if position is not None], most
        )
        items: list[ReplayItem] = []
        size = 0
        for ref, position in zip(refs, positions, strict=True):
            if position in left or size >= most:
                break
            item = await self._item(ref, None if position is None else letters.pop(position, None))
            if item.outgoing is not None and (self._request.edit or _letter_of(item).omitted):
                size += estimate_bytes(item.outgoing)  # what was not weighed when it was read
            items.append(item)
            if len(items) % 100 == 0:
                await asyncio.sleep(0)
        return items

    async def _item(self, ref: LetterRef, letter: DeadLetter | None) -> ReplayItem:
        for number in range(1, len(ref.positions)):
            if letter is not None and letter.id in ref.ids:
                break
            position = _parse_position(ref, number)
            if position is not None:
                letters, _ = await fetch_letters(self._source.broker, self._source.naming, [position], 1)
                letter = letters.get(position)
        if letter is None or letter.id not in ref.ids:
            return ReplayItem(ref, fail=GONE)
        kept = self.find_hold_reason(letter, ref.groups)
        if kept == UNKNOWN and self._wait_for_groups:
            await self._tracker.poll()
            kept = self.find_hold_reason(letter, ref.groups)
            if kept == UNKNOWN:
                raise Outage(UNKNOWN_YET)
        if kept is not None:
            return ReplayItem(ref, letter, skip=kept)
        try:
            restored = await self._sender.restore(letter)
            record = restored.record
            changes: tuple[PathChange, ...] = ()
            if self._request.edit:
                edited = await self._editor(record, self._request.edit, await self._sender.target(letter))
                changes = edited.changes
                record = Record(
                    record.position, record.key, edited.value, edited.headers, record.timestamp, record.value_at
                )
            outgoing = await self._sender.outgoing(letter, record)
            return ReplayItem(ref, letter, outgoing, changes, warning=restored.warning)
        except UnsendableLetter as error:
            return ReplayItem(ref, letter, fail=str(error))

    def find_hold_reason(self, letter: DeadLetter, groups: Sequence[str]) -> str | None:
        """Return the reason why a letter must not be sent to its origin; None if it may.

        A group that did not write the letter has consumed the record there, or may have, and would process it twice.
        """
        request, origin = self._request, letter.origin
        if request.again or request.group is not None or origin is None or request.to not in (None, origin.stream):
            return None
        tracker = self._tracker
        if origin.system not in tracker.polled_at or not tracker.troubles.keys().isdisjoint((origin.system, "groups")):
            return UNKNOWN
        return PASSED if next(self.passed_by(letter, groups), None) is not None else None

    def passed_by(self, letter: DeadLetter, groups: Sequence[str]) -> Iterator[str]:
        """Iterate over groups other than the letter's that have consumed the record at its origin, or may have."""
        origin = letter.origin
        if origin is None:
            return
        for reading in self._tracker.readers(origin.system, origin.stream):
            if reading.group in groups or origin.log not in reading.partitions:
                continue
            if reading.has_consumed(origin) is not False:
                yield reading.group


class ReplayStep:
    """Ledger entries of a step's items, and the transactions that send them."""

    def __init__(self, items: Sequence[ReplayItem], job: ReplayJob) -> None:
        self.items = items
        self._job = job
        self.acts: list[LedgerTransaction] = []
        self._of: list[ReplayItem] = []
        """The item of each act."""

    async def read(self, ledger: Ledger, now: int) -> None:
        """Read the ledger entries and build the transactions. `now` in microseconds. Raises Outage, Refused."""
        due = [item for item in self.items if item.outgoing is not None]
        for stream, group in groupby(due, key=lambda item: ledger_stream(_letter_of(item))):
            items = list(group)
            each = [entry_keys(_letter_of(item), item.ref.ids) for item in items]
            stands = iter(await ledger.entries(stream, [key for some in each for key in some]))
            for item, some in zip(items, each, strict=True):
                self._think(item, stream, some, [next(stands) for _ in some], now)

    def _think(
        self, item: ReplayItem, stream: str, keys: Sequence[str], stands: Sequence[bytes | None], now: int
    ) -> None:
        letter, job = _letter_of(item), self._job
        entry = current_entry(stands)
        if was_sent_by(job.id, entry):
            item.sent = True
            return
        if entry is not None and entry.state != "open" and not job.request.force:
            item.skip = SKIP_REASONS[entry.state]
            return
        assert item.outgoing is not None
        deed = LedgerAction(
            act="replayed",
            at=now,
            by=job.by,
            address=job.address,
            why=job.request.comment,
            replay=job.id,
            to=item.outgoing.stream,
            group=job.request.group,
            attempt=letter.replays + 1,
            edit=item.changes,
            letter=None if entry is None or entry.id == letter.id else letter.id,
        )
        before = entry or new_entry(letter)
        after = encode_entry(before.with_action(deed, "replayed"))
        entries = tuple([LedgerWrite(key, stored, after) for key, stored in zip(keys, stands, strict=True)])
        self.acts.append(LedgerTransaction(stream, entries, (item.outgoing,)))
        self._of.append(item)

    def item(self, index: int) -> ReplayItem:
        """Return the item of a transaction."""
        return self._of[index]

    def leave_out(self, index: int, why: str) -> None:
        """Do not carry out a transaction."""
        self._of[index].fail = why
        del self.acts[index], self._of[index]

    def of_stream(self, stream: str) -> ReplayStep:
        """Return a step with the transactions that publish to one stream."""
        part = ReplayStep((), self._job)
        for act, item in zip(self.acts, self._of, strict=True):
            if act.outgoing[0].stream == stream:
                part.acts.append(act)
                part._of.append(item)
        return part

    @property
    def streams(self) -> list[str]:
        return list(dict.fromkeys(act.outgoing[0].stream for act in self.acts))


def was_sent_by(replay: str, entry: LetterEntry | None) -> bool:
    """Check whether this replay has sent the letter, even if a forced replay has sent it again since."""
    return entry is not None and any(deed.replay == replay for deed in entry.actions if deed.act == "replayed")


def _parse_position(ref: LetterRef, number: int) -> Position | None:
    """Parse a position; None if it is invalid, as anyone who can write to the ledger can write anything."""
    try:
        return Position.parse(ref.positions[number])
    except (ValueError, IndexError):
        return None


def _letter_of(item: ReplayItem) -> DeadLetter:
    if item.letter is None:
        raise Refused("a letter that was not read cannot be sent")
    return item.letter
