"""Dead letters of the watched streams: search, grouping by cause, and the state of each.

The brokers' dead-letter streams are the only storage, so every search reads them.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from sidecar.dead_letters.deduplication import DeadLetterGroup, NewestLetters, origin_key
from sidecar.dead_letters.grouping import CauseGrouping, FailureCause
from sidecar.dead_letters.identity import DecodeRecords
from sidecar.dead_letters.ledger_entries import LetterEntry
from sidecar.dead_letters.lifecycle import MAX_REPLAY_LINKS, LetterStates, ReplayLinks, latest_replay, remember_replay
from sidecar.dead_letters.reader import LetterSource, ReadScope, read_letters
from sidecar.domain.errors import TracecarError
from sidecar.domain.model import DeadLetter
from sidecar.domain.ports.broker import Retention
from sidecar.domain.position import Position
from sidecar.domain.stream_names import LEDGER

LetterPredicate = Callable[[DeadLetter], bool]
RecordPredicate = Callable[[DeadLetter], Awaitable[bool]]


class DeadLetterFilter(Struct, frozen=True):
    """A search filter for dead letters."""

    wanted: LetterPredicate | None = None
    """Predicate on the facts of the dead letter."""
    holds: RecordPredicate | None = None
    """Predicate on the original record."""
    by_state: bool = False
    """True if `wanted` tests the state, which is then read for each dead letter first."""
    by_later_lives: bool = False
    """True if `wanted` distinguishes replayed from returned dead letters, so that the streams are read twice."""
    since: int | None = None
    """Time of failure in milliseconds from which dead letters match."""
    before: tuple[int, str] | None = None
    """`age_key` of the last dead letter on the previous page: only older ones match."""


ANY = DeadLetterFilter()


class SearchResult(Struct):
    """Result of a search, newest first."""

    letters: list[DeadLetterGroup]
    notes: list[str]
    """Sentences about streams that could not be read."""


class GroupingResult(Struct):
    """Dead letters by cause, the cause with the most dead letters first."""

    causes: list[FailureCause]
    letters: int
    """Number of dead letters, one for each origin and cause."""
    folded: int
    """Number of dead letters in causes that are not listed."""
    notes: list[str]


class DeadLetterStore:
    """Reads the dead letters of the watched streams from the brokers."""

    def __init__(
        self,
        sources: Sequence[LetterSource],
        attempts: int = 0,
        replaying: Callable[[Position], bool] = lambda position: False,
        decode: DecodeRecords | None = None,
    ) -> None:
        """Create the store without reading.

        Args:
            sources: Brokers with the names of their dead-letter streams.
            attempts: Number of replays after which a dead letter is parked; 0 parks none.
            replaying: Returns True if a running replay selected the dead letter at a position and has not sent it.
            decode: Decodes the records inside foreign dead letters, to add the records' identity.
        """
        self._sources = sources
        self._states = LetterStates(attempts, replaying)
        self._decode = decode

    async def newest(self, limit: int, wish: DeadLetterFilter = ANY) -> SearchResult:
        """Return the newest `limit` matching dead letters (0: all).

        Without a filter only the ends of the streams are read, else the whole streams.
        """
        notes: list[str] = []
        tail = 2 * limit if limit and wish.wanted is None and wish.holds is None and wish.before is None else None
        while True:
            scope, newest = ReadScope(since=wish.since, tail=tail), NewestLetters(limit, before=wish.before)
            links = await self._replay_links(wish, notes)
            async for letter, _ in self._each(wish, scope, notes, links):
                newest.add(letter)
            groups = newest.letters()[: limit or None]
            if tail is None or len(groups) >= limit or not scope.is_partial:
                break
            tail *= 2
        await self._annotate(groups, links, notes)
        return SearchResult(groups, list(dict.fromkeys(notes)))

    async def show(self, id: str) -> DeadLetterGroup | None:
        """Return one dead letter with its record and all groups of its origin; None if no stream contains it."""
        notes: list[str] = []
        links: ReplayLinks = {}
        newest = NewestLetters(1, whole=True)
        async for letter, _ in self._each(DeadLetterFilter(lambda letter: letter.id == id), ReadScope(), notes, links):
            newest.add(letter)
        matches = newest.letters()
        if not matches:
            return None
        key = origin_key(matches[0].letter)
        same_origin = NewestLetters(1, whole=True)
        async for letter, _ in self._each(
            DeadLetterFilter(lambda letter: origin_key(letter) == key), ReadScope(), notes, links
        ):
            same_origin.add(letter)
        group = next(iter(same_origin.letters()), matches[0])
        group.letter = matches[0].letter
        await self._annotate([group], links, notes)
        return group

    async def groups(self, wish: DeadLetterFilter = ANY) -> GroupingResult:
        """Group all matching dead letters by cause, each cause with the states of its dead letters."""
        grouping = CauseGrouping(time.time_ns() // 1_000)
        notes: list[str] = []
        links = await self._replay_links(wish, notes)
        replays: list[tuple[str, tuple[str, str | None]]] = []
        async for letter, entry in self._each(replace(wish, by_state=True), ReadScope(wish.since), notes, links):
            replay = latest_replay(entry) if letter.state == "replayed" else None
            fingerprint = grouping.add(letter)
            if fingerprint is not None and replay is not None and len(replays) < MAX_REPLAY_LINKS:
                replays.append((fingerprint, replay))
        for fingerprint, replay in replays:
            if replay in links:
                grouping.mark_returned(fingerprint)
        causes = grouping.causes()
        return GroupingResult(causes, grouping.letters, grouping.folded, [*dict.fromkeys(notes), *grouping.notes])

    async def each(
        self, wish: DeadLetterFilter, notes: list[str], reading: ReadScope | None = None
    ) -> AsyncIterator[DeadLetter]:
        """Yield every matching dead letter with its record, stream by stream in order, without deduplication.

        If a stream cannot be read, a sentence is added to `notes`.
        """
        links = await self._replay_links(wish, notes)
        async for letter, _ in self._each(wish, reading or ReadScope(wish.since), notes, links):
            yield letter

    async def entries(self, notes: list[str]) -> AsyncIterator[tuple[DeadLetter, LetterEntry]]:
        """Yield every dead letter that has actions in the ledger, with its entry."""
        async for letter, entry in self._each(replace(ANY, by_state=True), ReadScope(), notes, {}):
            if entry is not None and entry.actions:
                yield letter, entry

    async def reads(self, system: str, stream: str) -> bool:
        """Check whether searches read this stream. Raises Outage, Refused."""
        for source in self._sources:
            if source.broker.system == system and stream != LEDGER:
                watched = {status.partition.stream for status in await source.broker.status()}
                if source.naming.belongs(stream, watched):
                    return True
        return False

    async def states_of(self, groups: Sequence[DeadLetterGroup]) -> list[str]:
        """Read the states of these dead letters again from the ledger.

        Returns sentences about streams that could not be read.
        """
        notes: list[str] = []
        await self._annotate(groups, {}, notes)
        return notes

    # --- reading

    async def _each(
        self, wish: DeadLetterFilter, scope: ReadScope, notes: list[str], links: ReplayLinks
    ) -> AsyncIterator[tuple[DeadLetter, LetterEntry | None]]:
        async for fetched in read_letters(self._sources, scope, notes, self._decode):
            letters = fetched.letters
            for letter in letters:
                if letter.replay_of is not None:
                    remember_replay(links, letter)
            if not wish.by_state and wish.wanted is not None:
                letters = list(filter(wish.wanted, letters))
            entries: Sequence[LetterEntry | None] = [None] * len(letters)
            if wish.by_state and letters:
                entries = await self._entries(fetched.source, letters, notes)
                for letter, entry in zip(letters, entries, strict=True):
                    letter.state = self._states.state(letter, entry, links)
            for letter, entry in zip(letters, entries, strict=True):
                if wish.by_state and wish.wanted is not None and not wish.wanted(letter):
                    continue
                if wish.holds is None or await wish.holds(letter):
                    yield letter, entry

    async def _replay_links(self, wish: DeadLetterFilter, notes: list[str]) -> ReplayLinks:
        """Read the replays of all dead letters where the filter needs them: they may come after the dead letters."""
        links: ReplayLinks = {}
        if wish.by_later_lives:
            async for fetched in read_letters(self._sources, ReadScope(wish.since), notes):
                for letter in fetched.letters:
                    remember_replay(links, letter)
        return links

    # --- states

    async def _entries(
        self, source: LetterSource, letters: Sequence[DeadLetter], notes: list[str]
    ) -> Sequence[LetterEntry | None]:
        try:
            return await self._states.entries(source.broker.ledger, letters)
        except TracecarError as error:
            notes.append(_states_unknown(source, error))
            return [None] * len(letters)

    async def _annotate(self, groups: Sequence[DeadLetterGroup], links: ReplayLinks, notes: list[str]) -> None:
        """Fill in the state and the time of expiry."""
        for source in self._sources:
            of_source = [group for group in groups if group.letter.position.system == source.broker.system]
            if not of_source:
                continue
            try:
                letters, ids = [group.letter for group in of_source], [group.ids for group in of_source]
                entries = await self._states.entries(source.broker.ledger, letters, ids)
                for group, entry in zip(of_source, entries, strict=True):
                    replay = latest_replay(entry)
                    group.entry, group.returned_as = entry, None if replay is None else links.get(replay)
                    group.state = group.letter.state = self._states.state(group.letter, entry, links)
            except TracecarError as error:
                notes.append(_states_unknown(source, error))
            await _add_expiry(source, of_source)


async def _add_expiry(source: LetterSource, groups: Sequence[DeadLetterGroup]) -> None:
    retention: dict[str, Retention] = {}
    for group in groups:
        stream = group.letter.position.stream
        if stream not in retention:
            try:
                retention[stream] = await source.broker.retention(stream)
            except TracecarError:
                retention[stream] = Retention(None, False)
        keeps = retention[stream].keeps_ms
        group.expires_at = None if keeps is None else group.letter.appended_at + keeps


def _states_unknown(source: LetterSource, error: TracecarError) -> str:
    return f"the state of dead letters on {source.broker.system} is unknown, so they are shown as open: {error}"
