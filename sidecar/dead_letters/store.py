"""The desk: dead letters found again, wherever they lie, letters of one origin as one, each with what became of it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from sidecar.dead_letters.deduplication import DeadLetterGroup, NewestLetters, origin_key
from sidecar.dead_letters.ledger_entries import LetterEntry
from sidecar.dead_letters.lifecycle import MAX_REPLAY_LINKS, LetterStates, ReplayLinks, next_attempt, remember_replay
from sidecar.dead_letters.reader import LetterSource, ReadScope, read_letters
from sidecar.domain.errors import TracecarError
from sidecar.domain.failure_fingerprint import CauseGrouping, FailureCause
from sidecar.domain.model import DeadLetter
from sidecar.domain.ports.broker import Retention
from sidecar.domain.position import Position
from sidecar.domain.stream_names import LEDGER

LetterPredicate = Callable[[DeadLetter], bool]
RecordPredicate = Callable[[DeadLetter], Awaitable[bool]]


class DeadLetterFilter(Struct, frozen=True):
    """Which letters are looked for."""

    wanted: LetterPredicate | None = None
    """By what the letter itself says."""
    holds: RecordPredicate | None = None
    """By the record that it stands for."""
    by_state: bool = False
    """`wanted` looks at the state: it is worked out for each letter first."""
    by_later_lives: bool = False
    """It tells the replayed from the returned too: the streams are read twice."""
    since: int | None = None
    """Failed at or after this, milliseconds."""
    before: tuple[int, str] | None = None
    """Of a list: only letters that are older (`sidecar.dead_letters.deduplication.age_key`)."""


ANY = DeadLetterFilter()


class SearchResult(Struct):
    """The answer to a search: newest first."""

    letters: list[DeadLetterGroup]
    notes: list[str]
    """Sentences: what could not be looked at."""


class GroupingResult(Struct):
    """Dead letters by their cause: the cause with the most letters first."""

    causes: list[FailureCause]
    letters: int
    """How many there are, one for each origin and cause."""
    folded: int
    """How many of them are of causes that are not told apart."""
    notes: list[str]


class DeadLetterStore:
    """Reads the dead letters of the watched streams from the brokers themselves. `attempts`: replays beyond which a
    letter is parked (0: none is); `replaying` says whether the letter at a position waits in a running replay."""

    def __init__(
        self,
        sources: Sequence[LetterSource],
        attempts: int = 0,
        replaying: Callable[[Position], bool] = lambda position: False,
    ) -> None:
        self._sources = sources
        self._states = LetterStates(attempts, replaying)

    async def newest(self, limit: int, wish: DeadLetterFilter = ANY) -> SearchResult:
        """The newest `limit` dead letters (0: all) of those that are looked for. Where any will do, only the ends of
        the streams are read; else all of them."""
        notes: list[str] = []
        tail = 2 * limit if limit and wish.wanted is None and wish.holds is None and wish.before is None else None
        while True:
            reading, newest = ReadScope(since=wish.since, tail=tail), NewestLetters(limit, before=wish.before)
            lives = await self._later_lives(wish, notes)
            async for letter, _ in self._each(wish, reading, notes, lives):
                newest.add(letter)
            found = newest.letters()[: limit or None]
            if tail is None or len(found) >= limit or not reading.left_out:
                break
            tail *= 2
        await self._annotate(found, lives, notes)
        return SearchResult(found, list(dict.fromkeys(notes)))

    async def show(self, id: str) -> DeadLetterGroup | None:
        """One dead letter by its id, with its record and all groups of its origin; None where no stream holds it (any
        more)."""
        notes: list[str] = []
        lives: ReplayLinks = {}
        newest = NewestLetters(1, whole=True)
        async for letter, _ in self._each(DeadLetterFilter(lambda letter: letter.id == id), ReadScope(), notes, lives):
            newest.add(letter)
        found = newest.letters()
        if not found:
            return None
        key = origin_key(found[0].letter)
        same = NewestLetters(1, whole=True)
        async for letter, _ in self._each(
            DeadLetterFilter(lambda letter: origin_key(letter) == key), ReadScope(), notes, lives
        ):
            same.add(letter)
        whole = next(iter(same.letters()), found[0])
        whole.letter = found[0].letter
        await self._annotate([whole], lives, notes)
        return whole

    async def groups(self, wish: DeadLetterFilter = ANY) -> GroupingResult:
        """The causes of all dead letters that are looked for, each with what became of its letters."""
        causes = CauseGrouping(time.time_ns() // 1_000)
        notes: list[str] = []
        lives = await self._later_lives(wish, notes)
        ended: list[tuple[str, tuple[str, str | None]]] = []
        async for letter, entry in self._each(replace(wish, by_state=True), ReadScope(wish.since), notes, lives):
            life = next_attempt(entry) if letter.state == "replayed" else None
            fingerprint = causes.add(letter)
            if fingerprint is not None and life is not None and len(ended) < MAX_REPLAY_LINKS:
                ended.append((fingerprint, life))
        for fingerprint, life in ended:
            if life in lives:
                causes.returned(fingerprint)
        found = causes.found()
        return GroupingResult(found, causes.letters, causes.folded, [*dict.fromkeys(notes), *causes.notes])

    async def each(
        self, wish: DeadLetterFilter, notes: list[str], reading: ReadScope | None = None
    ) -> AsyncIterator[DeadLetter]:
        """Every letter that is looked for with its record, stream by stream in order, those of one origin each by
        itself. What cannot be looked at is noted."""
        lives = await self._later_lives(wish, notes)
        async for letter, _ in self._each(wish, reading or ReadScope(wish.since), notes, lives):
            yield letter

    async def entries(self, notes: list[str]) -> AsyncIterator[tuple[DeadLetter, LetterEntry]]:
        """Every letter that something was done with, and what. What cannot be looked at is noted."""
        async for letter, entry in self._each(replace(ANY, by_state=True), ReadScope(), notes, {}):
            if entry is not None and entry.deeds:
                yield letter, entry

    async def reads(self, system: str, stream: str) -> bool:
        """Whether this is a stream where dead letters of the watched streams are looked for. Raises Outage, Refused."""
        for source in self._sources:
            if source.broker.system == system and stream != LEDGER:
                watched = {status.partition.stream for status in await source.broker.status()}
                if source.naming.belongs(stream, watched):
                    return True
        return False

    async def states_of(self, found: Sequence[DeadLetterGroup]) -> list[str]:
        """Ask the ledger about these again; returns what could not be asked."""
        notes: list[str] = []
        await self._annotate(found, {}, notes)
        return notes

    # --- reading

    async def _each(
        self, wish: DeadLetterFilter, reading: ReadScope, notes: list[str], lives: ReplayLinks
    ) -> AsyncIterator[tuple[DeadLetter, LetterEntry | None]]:
        async for fetched in read_letters(self._sources, reading, notes):
            letters = fetched.letters
            for letter in letters:
                if letter.replay_of is not None:
                    remember_replay(lives, letter)
            if not wish.by_state and wish.wanted is not None:
                letters = list(filter(wish.wanted, letters))
            entries: Sequence[LetterEntry | None] = [None] * len(letters)
            if wish.by_state and letters:
                entries = await self._entries(fetched.source, letters, notes)
                for letter, entry in zip(letters, entries, strict=True):
                    letter.state = self._states.state(letter, entry, lives)
            for letter, entry in zip(letters, entries, strict=True):
                if wish.by_state and wish.wanted is not None and not wish.wanted(letter):
                    continue
                if wish.holds is None or await wish.holds(letter):
                    yield letter, entry

    async def _later_lives(self, wish: DeadLetterFilter, notes: list[str]) -> ReplayLinks:
        """The later lives of all letters, where the state is asked about: they may lie behind the letters."""
        lives: ReplayLinks = {}
        if wish.by_later_lives:
            async for fetched in read_letters(self._sources, ReadScope(wish.since), notes):
                for letter in fetched.letters:
                    remember_replay(lives, letter)
        return lives

    # --- what became of them

    async def _entries(
        self, source: LetterSource, letters: Sequence[DeadLetter], notes: list[str]
    ) -> Sequence[LetterEntry | None]:
        try:
            return await self._states.entries(source.broker.ledger, letters)
        except TracecarError as error:
            notes.append(_no_states(source, error))
            return [None] * len(letters)

    async def _annotate(self, found: Sequence[DeadLetterGroup], lives: ReplayLinks, notes: list[str]) -> None:
        """Say of each what became of it, and how long it will be there."""
        for source in self._sources:
            here = [one for one in found if one.letter.position.system == source.broker.system]
            if not here:
                continue
            try:
                letters, ids = [one.letter for one in here], [one.ids for one in here]
                entries = await self._states.entries(source.broker.ledger, letters, ids)
                for one, entry in zip(here, entries, strict=True):
                    one.entry, one.returned_as = entry, _later(entry, lives)
                    one.state = one.letter.state = self._states.state(one.letter, entry, lives)
            except TracecarError as error:
                notes.append(_no_states(source, error))
            await _say_when_they_go(source, here)


def _later(entry: LetterEntry | None, lives: ReplayLinks) -> str | None:
    life = next_attempt(entry)
    return None if life is None else lives.get(life)


async def _say_when_they_go(source: LetterSource, here: Sequence[DeadLetterGroup]) -> None:
    retention: dict[str, Retention] = {}
    for one in here:
        stream = one.letter.position.stream
        if stream not in retention:
            try:
                retention[stream] = await source.broker.retention(stream)
            except TracecarError:
                retention[stream] = Retention(None, False)
        keeps = retention[stream].keeps_ms
        one.expires_at = None if keeps is None else one.letter.appended_at + keeps


def _no_states(source: LetterSource, error: TracecarError) -> str:
    return f"what became of dead letters on {source.broker.system} is not known, they are shown as open: {error}"
