"""Mapper from events, flows and dead letters to JSON models.

It redacts them: every event leaves the process through it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from sidecar.api import models
from sidecar.api.mappers.payload import ReadPayload
from sidecar.dead_letters.deduplication import DeadLetterGroup
from sidecar.dead_letters.grouping import FailureCause
from sidecar.dead_letters.ledger_entries import LedgerAction, PathChange
from sidecar.domain.broker_traits import is_time_observed, traits_of
from sidecar.domain.correlation.repair import REPAIRED, is_repaired
from sidecar.domain.json_safe import encode_json, to_json, to_json_values, to_text
from sidecar.domain.large_records import LARGE_RECORD_BYTES, count_value_bytes
from sidecar.domain.model import DeadLetter, Decoded, Event, Headers, Rejection, SchemaRef
from sidecar.domain.ports import index as index_port
from sidecar.domain.ports.history import HistoryCoverage
from sidecar.domain.redacted_payload import body_to_json, headers_to_json, redact_exact_body, redact_headers
from sidecar.domain.redaction import Redactor
from sidecar.domain.timestamps import format_rfc3339

MAX_LISTED_HOLES = 100
STATUS_PRECEDENCE = ("rejected", "duplicate", "replayed", "unchecked", "ok")
"""Statuses of events, by precedence: a flow has the first of them that one of its events has."""


def _text(value: str | None) -> str | None:
    return None if value is None else to_text(value)


def _root_cause(letter: DeadLetter) -> models.RootCauseModel | None:
    root = letter.root_cause
    return None if root is None else models.RootCauseModel(type=to_text(root.type), message=_text(root.message))


def _millis(value: int | None) -> str | None:
    return None if value is None else format_rfc3339(value * 1000)


def _hex(value: int | None, digits: int) -> str | None:
    return None if value is None else f"{value:0{digits}x}"


def schema(ref: SchemaRef | None) -> models.SchemaRefModel | None:
    """Map a reference to a schema."""
    if ref is None:
        return None
    return models.SchemaRefModel(subject=_text(ref.subject), version=ref.version, id=ref.id, guid=_text(ref.guid))


def rejection(value: Rejection | None) -> models.RejectionModel | None:
    """Map a rejection."""
    if value is None:
        return None
    return models.RejectionModel(
        stage=value.stage, code=value.code, message=to_text(value.message), path=_text(value.path)
    )


def headers(values: Headers) -> list[models.Header]:
    """Map headers; values that are not text become `{"base64": …}`."""
    return headers_to_json(values)


def coverage(held: index_port.Coverage) -> models.CoverageModel:
    """Map the coverage of an index."""
    return models.CoverageModel(
        events=held.events,
        evicted=held.evicted,
        since=_millis(held.since),
        partitions=[str(partition) for partition in held.partitions],
        filling=held.filling,
        note=held.note,
        history=None if held.history is None else history_extent(held.history),
    )


def history_extent(extent: HistoryCoverage) -> models.HistoryExtentModel:
    """Map the extent of the history."""
    return models.HistoryExtentModel(
        events=extent.events,
        bytes=extent.bytes,
        files=extent.files,
        oldest=_millis(extent.oldest_ms),
        newest=_millis(extent.newest_ms),
        holes=[
            f"{hole.partition} from {traits_of(hole.partition.system).format_offset(hole.start)} to "
            f"{traits_of(hole.partition.system).format_offset(hole.end - 1)}"
            for hole in extent.holes[:MAX_LISTED_HOLES]
        ],
        hole_count=len(extent.holes),
    )


def _plain(value: Any) -> Any:
    return to_text(value) if isinstance(value, str) else value


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "position": str,
    "occurred_at": format_rfc3339,
    "appended_at": _millis,
    "observed_at": format_rfc3339,
    "span_id": lambda value: _hex(value, 16),
    "parent_span_id": lambda value: _hex(value, 16),
    "schema": schema,
    "rejection": rejection,
    "trace_origin": lambda value: "derived" if value is None else str(value),
}
"""Converters of the fields of an event that are not shown unchanged."""
_EVENT_FIELDS = tuple(
    (name, _CONVERTERS.get(name, _plain))
    for name in models.EventModel.__struct_fields__
    if name in Event.__struct_fields__ and name != "trace_id"
)
"""Fields that `Event` and `EventModel` share: a new one of both needs no change here."""


class EventMapper:
    """Maps nodes, flows and dead letters to redacted JSON models."""

    def __init__(self, redactor: Redactor) -> None:
        self.redactor = redactor

    def event(self, node: index_port.Node, payload: ReadPayload | None = None) -> models.EventModel:
        """Map an event; with `payload`, its headers and body too."""
        event = models.EventModel(**self._fields(node))
        if payload is not None:
            event.headers, event.body, event.payload_note = self._payload(payload)
        return event

    def flow_event(self, node: index_port.Node) -> models.FlowEventModel:
        """Map an event with its place in its flow."""
        return models.FlowEventModel(
            **self._fields(node),
            parent=None if node.parent is None else str(node.parent),
            parent_inferred=node.parent_inferred,
            depth=node.depth,
            hops=[str(position) for position in node.hops],
        )

    def document(self, node: index_port.Node, decoded: Decoded) -> dict[str, Any]:
        """Return an event with headers and body as JSON values, for reducers. Write it with `encode_json`."""
        document: dict[str, Any] = msgspec.to_builtins(self.event(node))
        document["headers"] = headers(self.headers_of(decoded))
        document["body"] = to_json_values(self._exact_body_of(decoded))
        return document

    def _fields(self, node: index_port.Node) -> dict[str, Any]:
        event = self.redactor.event(node.event)
        values = {name: convert(getattr(event, name)) for name, convert in _EVENT_FIELDS}
        values["stream"] = to_text(event.position.stream)
        values["partition"] = event.position.partition
        values["trace_id"] = _hex(node.trace_id, 32)
        values["status"] = node.status
        values["source"] = node.source
        values["changed"] = node.changed
        values["appended_at_observed"] = is_time_observed(event.position.system, event.position.offset)
        return values

    def _payload(self, payload: ReadPayload) -> tuple[list[models.Header], object, str | None]:
        if payload.decoded is None:
            return [], None, payload.note
        decoded = payload.decoded
        return headers(self.headers_of(decoded)), self._body(decoded), payload.note

    def headers_of(self, decoded: Decoded) -> Headers:
        """Return the record's headers, redacted, for display and search."""
        return redact_headers(self.redactor, decoded)

    def body_of(self, decoded: Decoded) -> object:
        """Return the decoded body, redacted, for display and search; None if it could not be decoded."""
        return None if decoded.body is None else self.redactor.body(decoded.body, flat=decoded.record.value is None)

    def _body(self, decoded: Decoded) -> object:
        body = body_to_json(self.redactor, decoded)
        # Many values are encoded here, in the thread where large records are mapped.
        return body if count_value_bytes(decoded.record) <= LARGE_RECORD_BYTES else msgspec.Raw(encode_json(body))

    def _exact_body_of(self, decoded: Decoded) -> object:
        """Return the decoded body, redacted, its numbers with all their digits."""
        return redact_exact_body(self.redactor, decoded)

    def flow(
        self, flow: index_port.Flow, held: index_port.Coverage | None = None, *, whole: bool = True
    ) -> models.FlowModel:
        """Map a flow. Without `whole`, its events are left out, for lists."""
        events = [self.flow_event(node) for node in flow.nodes]
        times = [node.event.occurred_at or node.event.appended_at * 1000 for node in flow.nodes]
        started, ended = min(times, default=None), max(times, default=None)
        return models.FlowModel(
            trace_id=f"{flow.trace_id:032x}",
            started_at=format_rfc3339(started),
            ended_at=format_rfc3339(ended),
            duration_ms=None if started is None or ended is None else (ended - started) / 1000,
            status=flow_status(flow.nodes),
            aggregates=_distinct([event.aggregate_id for event in events]),
            streams=_distinct([event.stream for event in events]),
            producers=_distinct([event.producer for event in events]),
            event_count=len(events),
            events=events if whole else UNSET,
            broken_keys=[to_text(key) for key in flow.broken_keys],
            coverage=UNSET if held is None else coverage(held),
        )

    def dead_letter(self, letters: DeadLetterGroup, payload: ReadPayload | None = None) -> models.DeadLetterModel:
        """Map a dead letter with all groups of its origin; with `payload`, also the original record."""
        letter = self.redactor.letter(letters.letter)
        model = models.DeadLetterModel(
            id=to_text(letter.id),
            position=str(letter.position),
            origin=None if letter.origin is None else str(letter.origin),
            stream=to_text(letter.stream),
            group=_text(letter.group),
            stage=letter.stage,
            code=to_text(letter.code),
            message=to_text(letter.message),
            path=_text(letter.path),
            event_id=_text(letter.event_id),
            type=_text(letter.type),
            trace_id=_text(letter.trace_id),
            aggregate_id=_text(letter.aggregate_id),
            failed_at=format_rfc3339(letter.failed_at),
            attempts=letter.attempts,
            root_cause=_root_cause(letter),
            dialect=letter.dialect,
            state=letters.state,
            cause=letters.cause,
            groups=[to_text(group) for group in letters.groups],
            schema=schema(letter.schema),
            service=_text(letter.service),
            replay_of=_text(letter.replay_of),
            omitted=list(letter.omitted),
            replays=letter.replays,
            returned_as=_text(letters.returned_as),
            expires_at=_millis(letters.expires_at),
        )
        if payload is not None:
            model.history = [] if letters.entry is None else [ledger_action(action) for action in letters.entry.actions]
            model.stacktrace = _text(letter.stacktrace)
            model.headers, model.body, model.payload_note = self._payload(payload)
            if payload.decoded is not None:
                model.key = _text(self.redactor.event(payload.decoded.event).key)
        return model

    def cause(self, cause: FailureCause, now: int) -> models.CauseModel:
        """Map a cause of dead letters; `now` in microseconds."""
        letter = self.redactor.letter(cause.letter)
        hidden = self.redactor.hides_keys
        return models.CauseModel(
            cause=cause.cause,
            stream=to_text(letter.stream),
            stage=letter.stage,
            code=to_text(letter.code),
            message=to_text(letter.message),
            path=_text(letter.path),
            root_cause=_root_cause(letter),
            type=_text(letter.type),
            schema=schema(letter.schema),
            count=cause.count,
            first_seen=format_rfc3339(cause.first_seen),
            last_seen=format_rfc3339(cause.last_seen),
            oldest_age_s=max(0, now - cause.first_seen) // 1_000 / 1_000,
            rate=round(cause.recent / 60, 3),
            aggregates=cause.aggregates,
            some_aggregates=[] if hidden else [to_text(aggregate) for aggregate in cause.some_aggregates],
            groups=[to_text(group) for group in cause.groups],
            dialects=cause.dialects,
            states={state: count for state, count in cause.states.items() if count},
            latest=to_text(letter.id),
        )


def ledger_action(action: LedgerAction) -> models.LedgerActionModel:
    """Map one entry of a letter's history."""
    return models.LedgerActionModel(
        act=action.act,
        at=format_rfc3339(action.at),
        by=to_text(action.by),
        address=action.address,
        why=_text(action.why),
        replay=action.replay,
        to=_text(action.to),
        group=_text(action.group),
        attempt=action.attempt,
        edit=[change(each) for each in action.edit],
    )


def change(edit: PathChange) -> models.ChangeModel:
    """Map one difference that an edit made."""
    return models.ChangeModel(
        path=to_text(edit.path), before=to_json(edit.before), after=to_json(edit.after), what=edit.what
    )


def flow_status(nodes: Sequence[index_port.Node]) -> str:
    """Return the status of a flow: `repaired`, or the first of its events' statuses by precedence."""
    status = min((node.status for node in nodes), key=STATUS_PRECEDENCE.index, default="ok")
    return REPAIRED if status == "rejected" and is_repaired(nodes) else status


def _distinct(values: Sequence[str | None]) -> list[str]:
    return list(dict.fromkeys(value for value in values if value is not None))
