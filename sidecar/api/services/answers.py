"""Everything that the API serves: questions in, the contract's JSON out. Every answer says what it can know about."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol

import structlog

from sidecar.api import models
from sidecar.api.mappers import consumer_groups
from sidecar.api.mappers.events import EventMapper, coverage
from sidecar.api.mappers.payload import ReadPayload
from sidecar.api.services.payloads import PayloadCache, PayloadReader
from sidecar.api.services.scan import ScanProgress, ScanRequest, scan
from sidecar.api.services.search import EventSearch, SearchableIndex, alone, metadata_part, moment_of, no_cursor
from sidecar.config import schema as config
from sidecar.dead_letters.deduplication import DeadLetterGroup
from sidecar.dead_letters.ledger_entries import Actor
from sidecar.dead_letters.store import DeadLetterFilter, GroupingResult, SearchResult
from sidecar.decoding.decoder import EventDecoder
from sidecar.decoding.envelope.extractor import BUILT_IN_LOCATIONS
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.domain.dead_letter_id import unknown_id_error
from sidecar.domain.errors import NotFoundError, QueryError
from sidecar.domain.json_safe import text
from sidecar.domain.model import DeadLetter, Decoded, Record
from sidecar.domain.ports.broker import Broker
from sidecar.domain.ports.index import Node
from sidecar.domain.position import Position, looks_like_position
from sidecar.domain.redaction import Redactor
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker
from sidecar.query import Query, parse

log = structlog.get_logger()

MOST = 1_000
"""Items of one page."""
MOST_SCHEMAS = 200
"""Subjects of one page: each costs the registry three questions."""


class StatusProvider(Protocol):
    """How the sidecar is."""

    @property
    def ready(self) -> bool: ...

    async def status(self) -> models.ServiceStatus: ...

    async def exposition(self, *, open_metrics: bool) -> str: ...


class HeldStreams(Protocol):
    """What is held, and how to go on. Both return how many partitions of the stream were held, and raise Outage and
    Refused."""

    async def resume(self, stream: str) -> int: ...

    async def skip(self, stream: str) -> int: ...


class DeadLetterSource(Protocol):
    """Where dead letters are found."""

    async def newest(self, limit: int, wish: DeadLetterFilter = ...) -> SearchResult: ...

    async def show(self, id: str) -> DeadLetterGroup | None: ...

    async def reads(self, system: str, stream: str) -> bool: ...

    async def groups(self, wish: DeadLetterFilter = ...) -> GroupingResult: ...


class ReadService:
    """Answers from the index, the brokers, the dead-letter streams and the registry. Raises QueryError, Unknown, Outage
    and Refused."""

    def __init__(
        self,
        *,
        index: SearchableIndex,
        brokers: Sequence[Broker],
        judge: EventDecoder,
        catalog: SchemaCache,
        desk: DeadLetterSource,
        facts: StatusProvider,
        holds: HeldStreams,
        redact: Sequence[str] = (),
        redact_messages: bool = True,
        envelope: config.EnvelopeConfig | None = None,
        follower: ConsumerGroupTracker | None = None,
    ) -> None:
        self._index, self._brokers, self._catalog, self._desk = index, list(brokers), catalog, desk
        self._held, self.facts = holds, facts
        self._follower = follower or ConsumerGroupTracker(brokers)
        self._cache = PayloadCache()
        self.payloads = PayloadReader({broker.system: broker for broker in brokers}, judge, self._cache)
        self.redactor = Redactor(redact, _places(envelope), free_text=redact_messages)
        self._rendering = EventMapper(self.redactor)
        self._search = EventSearch(index, self.payloads, self._rendering)

    def keep(self, decoded: Sequence[Decoded]) -> None:
        """Remember the payloads of what just passed, for a short while."""
        self._cache.keep([one.record for one in decoded])

    # --- events

    async def events(
        self, query: str = "", limit: int = 100, cursor: str | None = None, *, full: bool = False
    ) -> models.EventPage:
        """Held events that match, newest first; `full`: with headers and bodies."""
        page = await self._search.newest(parse(query), _limit(limit), cursor, full=full)
        held = coverage(self._index.coverage())
        if page.note is not None:
            held.note = f"{held.note} {page.note}" if held.note else page.note
        return models.EventPage(items=page.events, cursor=page.cursor, coverage=held)

    async def event(self, id: str) -> models.EventModel:
        """One event with headers and body, by its position; or the latest with this event id."""
        try:
            position = Position.parse(id)
        except ValueError:
            position = await self._position_of(id)
        node = await self._index.at(position)
        if node is None and not await self._in_our_sight(position.system, position.stream):
            raise NotFoundError(f"{position}: no watched stream, and no dead-letter stream of one, is called so")
        payload = await self.payloads.at(position)
        if node is None:
            if payload.decoded is None:
                raise NotFoundError(f"{position}: {payload.note}")
            node = alone(payload.decoded.event)
        shown = self._rendering.event(node, payload)
        consumer_groups.add(shown, position, self._follower)
        return shown

    async def _in_our_sight(self, system: str, stream: str) -> bool:
        """Whether we are here to show this stream: a watched one, or one with its dead letters. What else the broker
        lets us read is nobody's business here."""
        watched = {one.stream for one in (await self.facts.status()).streams if one.system == system}
        return text(stream) in watched or await self._desk.reads(system, stream)

    async def _position_of(self, id: str) -> Position:
        for node in await self._index.lookup(id):
            if self.redactor.event(node.event).event_id == id:
                return node.event.position
        raise _malformed(id) or self._unknown("no event", id)

    async def flow(self, id: str) -> models.FlowModel:
        """The flow of a trace id, event id, position, aggregate id or correlation id; of several the latest."""
        flow = await self._index.flow(_canonical(id))
        if flow is None or not any(self._shows(node, id) for node in flow.nodes):
            raise _malformed(id) or self._unknown("no flow", id)
        shown = self._rendering.flow(flow, self._index.coverage())
        within = {node.event.position for node in flow.nodes}
        shown.elsewhere = sum(
            node.event.position not in within and self._shows(node, id)
            for node in await self._index.lookup(_canonical(id))
        )
        delivery = consumer_groups.flow_delivery(flow, self._follower)
        if delivery is not None:
            shown.delivery = delivery
        return shown

    async def flows(self, limit: int = 100, cursor: str | None = None) -> models.FlowPageModel:
        """Recent flows without their events, by their latest append time, newest first."""
        try:
            flows, following = await self._index.flows(_limit(limit), cursor)
        except ValueError:
            raise no_cursor(cursor or "") from None
        return models.FlowPageModel(
            items=[self._rendering.flow(flow, whole=False) for flow in flows],
            cursor=following,
            coverage=coverage(self._index.coverage()),
        )

    async def aggregate(self, id: str, limit: int = MOST) -> models.AggregateModel:
        """The held events of an aggregate, by occurred time, then position."""
        nodes = [node for node in await self._index.aggregate(id, _limit(limit)) if self._shows(node, id)]
        if not nodes:
            raise self._unknown("no aggregate", id)
        events = [self._rendering.event(node) for node in nodes]
        kind = next((event.aggregate_type for event in reversed(events) if event.aggregate_type is not None), None)
        return models.AggregateModel(
            aggregate_id=events[0].aggregate_id or id,
            aggregate_type=kind,
            events=events,
            coverage=coverage(self._index.coverage()),
        )

    def _shows(self, node: Node, id: str) -> bool:
        """Whether the id is one that may be seen: finding by a hidden one would reveal it."""
        if not self.redactor.hidden_words:
            return True
        event = self.redactor.event(node.event)
        seen = (str(event.position), f"{node.trace_id:032x}", event.event_id, event.aggregate_id, event.correlation_id)
        return _canonical(id) in seen

    def _unknown(self, what: str, id: str) -> NotFoundError:
        held = coverage(self._index.coverage())
        since = f" since {held.since}" if held.since else ""
        more = ", and the index is still filling" if held.filling else ""
        return NotFoundError(
            f"{what} has the id {id!r} among the {held.events} events held here{since}{more}; "
            "older ones are found by a scan of the broker (tracecar events --scan)"
        )

    async def live(self, decoded: Sequence[Decoded], query: Query) -> list[models.EventModel]:
        """Those of the events just passed that match, as they stand in the index."""
        return await self._search.chosen(decoded, query)

    async def scan(
        self, query: str = "", limit: int = 0, key: str | None = None, *, full: bool = False
    ) -> AsyncIterator[models.EventModel | models.ScanProgressModel | models.ScanEndModel]:
        """What the brokers hold that matches, partition by partition, oldest first, with progress in between. Ends
        after `limit` matches (0: all)."""
        wanted = parse(query)
        reach, matched = ScanProgress(), 0
        wish = ScanRequest(
            streams=wanted.streams,
            key=None if key is None else key.encode("utf-8", "surrogateescape"),
            since=wanted.since,
            until=wanted.until,
        )
        async for part in scan(self._brokers, self.payloads, wish, reach, self._in_our_sight):
            for event in await self._search.chosen(part.decoded, wanted, full=full):
                yield event
                matched += 1
                if matched == limit:
                    yield models.ScanEndModel(
                        reason="the limit is reached", complete=False, scanned=reach.scanned, matched=matched
                    )
                    return
            yield models.ScanProgressModel(
                scanned=part.scanned, matched=matched, total=part.total, partition=str(part.partition)
            )
        reason = "; ".join(reach.notes) or "everything was read"
        yield models.ScanEndModel(reason=reason, complete=reach.complete, scanned=reach.scanned, matched=matched)

    # --- dead letters

    async def dead_letters(self, query: str = "", limit: int = 100, cursor: str | None = None) -> models.DeadLetterPage:
        """Dead letters that match, newest first; letters of one origin are one."""
        limit = _limit(limit)
        found = await self._desk.newest(limit + 1, self._wish(parse(query), _letter_cursor(cursor)))
        chosen = found.letters
        return models.DeadLetterPage(
            items=[self._rendering.dead_letter(letters) for letters in chosen[:limit]],
            cursor=_cursor_after(chosen[limit - 1]) if len(chosen) > limit else None,
            note=" ".join(found.notes) or None,
        )

    # --- what the way back asks (`sidecar.replay.service.LetterQueries`)

    def wanted(self, query: str) -> DeadLetterFilter:
        """What the desk is to look for. Raises QueryError."""
        return self._wish(parse(query))

    async def fits(self, records: Sequence[Record], query: str) -> list[bool]:
        """Which of these records match, as events. Raises QueryError."""
        wanted = parse(query)
        return [await self._search.fits(one, wanted) for one in await self.payloads.open(records)]

    async def in_sight(self, system: str, stream: str) -> bool:
        """Whether this is a watched stream. Raises Outage, Refused."""
        for broker in self._brokers:
            if broker.system == system and any(one.partition.stream == stream for one in await broker.status()):
                return True
        return False

    def _wish(self, query: Query, before: tuple[int, str] | None = None) -> DeadLetterFilter:
        """What the desk is to look for: it sees what may be seen."""
        narrow = metadata_part(query)

        def wanted(letter: DeadLetter) -> bool:
            return narrow.matches_letter(self.redactor.letter(letter))

        async def holds(letter: DeadLetter) -> bool:
            return await self._holds(letter, query)

        return DeadLetterFilter(
            wanted if str(narrow) else None,
            holds if query.needs_payload else None,
            by_state=query.asks("state"),
            by_later_lives=query.asks("state"),
            since=query.since,
            before=before,
        )

    async def causes(self, query: str = "", limit: int = 100) -> models.CausePage:
        """The causes of the dead letters that match, those with the most letters first."""
        found = await self._desk.groups(self._wish(parse(query)))
        now = time.time_ns() // 1_000
        return models.CausePage(
            items=[self._rendering.cause(cause, now) for cause in found.causes[: _limit(limit)]],
            letters=found.letters,
            folded=found.folded,
            note=" ".join(found.notes) or None,
        )

    async def _holds(self, letter: DeadLetter, query: Query) -> bool:
        payload = await self._letter_payload(letter)
        if payload.decoded is None:
            return False
        headers, body = self._rendering.headers_of(payload.decoded), self._rendering.body_of(payload.decoded)
        return query.matches_letter(self.redactor.letter(letter), headers, body)

    async def dead_letter(self, id: str) -> models.DeadLetterModel:
        """One dead letter, with the record that it stands for."""
        letters = await self._desk.show(id)
        if letters is None:
            raise unknown_id_error(
                id, f"no dead letter has the id {id!r}, in any dead-letter stream of the watched streams"
            )
        return self._rendering.dead_letter(letters, await self._letter_payload(letters.letter))

    async def _letter_payload(self, letter: DeadLetter) -> ReadPayload:
        if letter.record is not None and not letter.omitted:
            return ReadPayload((await self.payloads.open([letter.record]))[0])
        if letter.origin is None:
            return await self._kept(letter, "the letter does not say where it came from")
        if not await self.in_sight(letter.origin.system, letter.origin.stream):
            # Whoever can write to a dead-letter stream can write any origin: what is not watched is not ours to show.
            return await self._kept(letter, f"{text(letter.origin.stream)} is not a watched stream")
        payload = await self.payloads.at(letter.origin)
        if payload.decoded is None:
            return await self._kept(letter, payload.note or "the origin does not hold the record")
        if letter.origin_timestamp not in (None, payload.decoded.record.timestamp):
            return await self._kept(
                letter, f"the record at {letter.origin} is not the one that failed: the stream was created again"
            )
        return payload

    async def _kept(self, letter: DeadLetter, why: str) -> ReadPayload:
        """What the letter itself keeps, where the whole record cannot be had."""
        note = f"the letter does not keep the {', '.join(letter.omitted) or 'record'}, and {why}"
        if letter.record is None or "body" in letter.omitted:
            return ReadPayload(note=note)
        return ReadPayload((await self.payloads.open([letter.record]))[0], note)

    # --- the rest

    async def schemas(self, subject: str | None = None, version: int | None = None) -> models.SubjectPage:
        """What is registered, or one subject with the text of a version (the latest for None); and what was seen of it
        lately."""
        subjects = await self._catalog.subjects() if subject is None else [subject]
        items = [await self._subject(name, version, whole=subject is not None) for name in subjects[:MOST_SCHEMAS]]
        if subject is not None and not items[0].versions:
            raise NotFoundError(f"no subject is called {subject!r} in the registry")
        if version is not None and version not in items[0].versions:
            known = ", ".join(map(str, items[0].versions[-10:]))
            raise NotFoundError(f"{subject!r} has no version {version}; it has {known}")
        held = coverage(self._index.coverage())
        if len(subjects) > MOST_SCHEMAS:
            held.note = (
                f"{len(subjects)} subjects are registered, the first {MOST_SCHEMAS} are shown: ask for one by name"
            )
        return models.SubjectPage(items=items, coverage=held)

    async def _subject(self, subject: str, version: int | None, *, whole: bool) -> models.SubjectModel:
        versions = await self._catalog.versions(subject)
        asked = version if version in versions else None
        found = await self._catalog.registered(subject, asked) if versions else None
        seen: dict[tuple[int | None, int | None], set[str]] = {}
        for stream, schema in self._catalog.seen():
            if schema.ref.subject == subject:
                seen.setdefault((schema.ref.version, schema.ref.id), set()).add(stream)
        shown = models.SubjectModel(
            subject=subject,
            versions=versions,
            compatibility=await self._catalog.compatibility(subject) if versions else None,
            kind=None if found is None else found.kind,
            id=None if found is None else found.ref.id,
            seen=[
                models.SeenSchemaModel(version=version, id=id, streams=sorted(map(text, streams)))
                for (version, id), streams in seen.items()
            ],
        )
        if whole:
            shown.text = None if found is None else found.text
        return shown

    async def status(self) -> models.ServiceStatus:
        found = await self.facts.status()
        found.trouble += consumer_groups.stopped(self._follower)
        return found

    async def groups(self) -> models.GroupPage:
        """The other consumer groups that read watched streams, by name."""
        return consumer_groups.groups(self._follower)

    async def streams(self) -> models.StreamPage:
        return models.StreamPage(items=(await self.facts.status()).streams)

    async def resume(self, stream: str, who: Actor) -> models.ReleaseResult:
        """Try again what is held of a stream."""
        return await self._go_on("stream.resumed", self._held.resume, stream, who)

    async def skip(self, stream: str, who: Actor) -> models.ReleaseResult:
        """Go on past what holds a stream."""
        return await self._go_on("stream.skipped", self._held.skip, stream, who)

    async def _go_on(
        self, act: str, how: Callable[[str], Awaitable[int]], stream: str, who: Actor
    ) -> models.ReleaseResult:
        if text(stream) not in {one.stream for one in (await self.facts.status()).streams}:
            raise NotFoundError(f"no watched stream is called {stream!r}")
        log.info(f"{act}.asked", by=who.name, address=who.address, stream=text(stream))
        held = await how(stream)
        log.info(act, by=who.name, address=who.address, stream=text(stream), partitions=held)
        return models.ReleaseResult(stream=text(stream), partitions=held)


def _places(envelope: config.EnvelopeConfig | None) -> dict[str, list[str]]:
    return {
        word: [*(getattr(envelope, word) if envelope is not None else ()), *built_in]
        for word, built_in in BUILT_IN_LOCATIONS.items()
    }


def _limit(limit: int) -> int:
    """0 is as much as one page holds."""
    return min(limit, MOST) if limit > 0 else MOST


def _malformed(id: str) -> QueryError | None:
    """What to raise for an id that nothing has, where it looks like a position and is none."""
    if not looks_like_position(id):
        return None
    try:
        Position.parse(id)
    except ValueError as error:
        return QueryError(str(error), id, 0)
    return None


def _canonical(id: str) -> str:
    """A position in the one way of writing it; anything else as it is."""
    try:
        return str(Position.parse(id))
    except ValueError:
        return id


def _age(letters: DeadLetterGroup) -> tuple[int, str]:
    return letters.letter.appended_at, str(letters.letter.position)


def _cursor_after(letters: DeadLetterGroup) -> str:
    appended, position = _age(letters)
    return f"{appended}@{position}"


def _letter_cursor(cursor: str | None) -> tuple[int, str] | None:
    if cursor is None:
        return None
    appended, position = moment_of(cursor)
    return appended, str(position)
