"""Rules about names: commands, events, and rows of tables."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sidecar.domain.ports.index import Node
from sidecar.insights.lint.evidence import Evidence, LintFinding, Severity
from sidecar.insights.lint.rule import LintContext, RuleInfo
from sidecar.insights.lint.type_grammar import is_command_stream, reads_as_command, reads_as_event, type_words

EVENT_AS_COMMAND = RuleInfo(
    name="event-named-as-command",
    severity=Severity.NOTE,
    summary="A type on an event stream is named as an order, such as `SendInvoice`.",
    reason="The producer decides what others have to do. A change of the process then needs a change of the producer.",
    remedy="Name what happened (`OrderConfirmed`), or move commands to a stream whose name says so "
    "(`billing.commands`).",
)
COMMAND_AS_EVENT = RuleInfo(
    name="command-named-as-event",
    severity=Severity.NOTE,
    summary="A type on a command stream is named as something that happened.",
    reason="A reader cannot tell whether the message asks for an action or reports it.",
    remedy="Name the order (`PlaceOrder`), or publish the event on a stream for events.",
)
ROW_CHANGE = RuleInfo(
    name="row-change",
    severity=Severity.WARNING,
    summary="Changes of database rows are published as domain events.",
    reason="Consumers depend on the columns of a table, and no event says what a change means.",
    remedy="Publish domain events through an outbox table, and keep the stream of changes for replication; silence the "
    "rule for that stream.",
)

_ROW_TYPE = re.compile(r"(.+)\.(?:created|updated|deleted|read|truncated)")
_CRUD = frozenset({"created", "updated", "deleted"})


class NamingRule:
    """Compares the names of event types with the kind of their stream: commands, events or row changes."""

    infos = EVENT_AS_COMMAND, COMMAND_AS_EVENT, ROW_CHANGE

    def __init__(self) -> None:
        self._types: dict[tuple[str, str], Evidence] = {}
        self._rows: dict[str, Evidence] = {}
        self._row_types: set[tuple[str, str]] = set()

    def observe(self, node: Node) -> None:
        event = node.event
        if event.type is None:
            return
        stream = event.position.stream
        key = stream, event.type
        evidence = self._types.get(key)
        if evidence is None:
            evidence = self._types[key] = Evidence()
            if _is_row_type(event.type, event.aggregate_type):
                self._row_types.add(key)
        evidence.add(event)
        if key in self._row_types:
            rows = self._rows.get(stream)
            if rows is None:
                rows = self._rows[stream] = Evidence()
            rows.add(event)

    def findings(self, context: LintContext) -> Iterable[LintFinding]:
        for (stream, type), evidence in self._types.items():
            if (stream, type) in self._row_types:
                continue
            if not is_command_stream(stream) and reads_as_command(type):
                message = f"{type} on {stream} is named as a command, on a stream of events"
                yield EVENT_AS_COMMAND.finding(message, evidence, subject=type, stream=stream, type=type)
            elif is_command_stream(stream) and reads_as_event(type):
                message = f"{type} on {stream} is named as an event, on a stream of commands"
                yield COMMAND_AS_EVENT.finding(message, evidence, subject=type, stream=stream, type=type)
        for stream, evidence in self._rows.items():
            message = f"{evidence.count:,} events on {stream} are changes of database rows"
            yield ROW_CHANGE.finding(message, evidence, subject=stream, stream=stream)
        for stream, entity, evidence in self._list_crud():
            message = f"{stream} says of {entity} only that it was created, updated and deleted: these are row changes"
            yield ROW_CHANGE.finding(message, evidence, subject=stream, stream=stream)

    def _list_crud(self) -> Iterable[tuple[str, str, Evidence]]:
        """Yield streams on which an entity has the types Created, Updated and Deleted, and no other."""
        verbs: dict[tuple[str, str], set[str]] = {}
        updates: dict[tuple[str, str], Evidence] = {}
        for (stream, type), evidence in self._types.items():
            *entity, verb = type_words(type) or ("",)
            if not entity or (stream, type) in self._row_types:
                continue
            key = stream, " ".join(entity)
            verbs.setdefault(key, set()).add(verb)
            if verb == "updated":
                updates[key] = evidence
        for (stream, name), seen in verbs.items():
            if seen == _CRUD:
                yield stream, name, updates[stream, name]


def _is_row_type(type: str, aggregate_type: str | None) -> bool:
    match = _ROW_TYPE.fullmatch(type)
    return type.endswith(".Envelope") or (match is not None and match[1] == aggregate_type)
