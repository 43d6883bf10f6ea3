"""Checks a schema version that is not registered yet against real events.

Two questions for each event of the subject: could a consumer with the new version read it, and could a consumer with
the event's own version read the same event if the new version had written it?
"""

from __future__ import annotations

from typing import Literal

from sidecar.api import models
from sidecar.api.services.event_sampler import EventSampler
from sidecar.api.services.subject_history import SubjectHistory
from sidecar.decoding.formats.schema_format import CompiledSchema, UnusableSchema
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.domain.errors import Outage, QueryError, Refused
from sidecar.domain.json_path import PathFault
from sidecar.domain.json_safe import to_json
from sidecar.domain.model import SchemaRef
from sidecar.domain.ports.index import Node
from sidecar.domain.ports.registry import RegisteredSchema
from sidecar.domain.redaction import Redactor
from sidecar.query import parse

MAX_CHECKED_EVENTS = 10_000
MAX_EVIDENCE_PER_FAULT = 5
NEW_VERSION = "new version"
Direction = Literal["read", "write"]


class SchemaCheckService:
    """Answers whether real events and their consumers would survive a schema version."""

    def __init__(self, schemas: SchemaCache, sampler: EventSampler, stored: SubjectHistory, redactor: Redactor) -> None:
        self._schemas, self._sampler, self._stored, self._redactor = schemas, sampler, stored, redactor

    async def check(self, request: models.SchemaCheckRequest) -> models.SchemaCheckResult:
        """Check the newest events of a subject, and as many of the history.

        Raises QueryError for an unusable text, Outage and Refused.
        """
        subject = request.subject
        new = self._schemas.compile(RegisteredSchema(SchemaRef(subject, None, None), request.kind, request.text))
        if isinstance(new, UnusableSchema):
            raise QueryError(f"the new version cannot be used: {new}", request.text[:200], 0)
        limit = max(1, min(request.limit, MAX_CHECKED_EVENTS))
        nodes = await self._find_events(subject, limit)
        older, note = await self._find_stored(subject, limit, nodes[-1].event.appended_at if nodes else None)
        stored = {node.event.position for node in older}
        report = _Report(self._redactor)
        compiled: dict[SchemaRef, CompiledSchema | None] = {}
        async for node, decoded in self._sampler.payloads([*nodes, *older]):
            ref = node.event.schema
            if ref is None or decoded.body is None:
                continue
            if ref not in compiled:
                compiled[ref] = await self._compile(ref)
            original = compiled[ref]
            if original is None:
                continue
            value = to_json(decoded.body)
            reader = f"version {ref.version}"
            is_stored = node.event.position in stored
            report.add(node, NEW_VERSION, new.find_read_fault(value, original), is_stored=is_stored)
            report.add(node, reader, new.find_write_fault(value, original), is_stored=is_stored)
            report.count(node, ref.version, is_stored=is_stored)
        wanted = limit + len(older)
        if note is None and report.events < wanted:
            note = f"{report.events:,} of {wanted:,} wanted events could be read back"
        return models.SchemaCheckResult(
            subject=subject,
            events=report.events,
            stored_events=report.stored_events,
            survived=report.events - len(report.failing),
            versions=sorted(report.versions),
            faults=report.faults(),
            note=note,
        )

    async def _find_stored(self, subject: str, limit: int, before_ms: int | None) -> tuple[list[Node], str | None]:
        """Return events of the history, and a sentence if it cannot be read."""
        try:
            return await self._stored.sample(subject, limit, before_ms), None
        except (Outage, Refused) as error:
            return [], f"the history was not checked: {error}"

    async def _find_events(self, subject: str, limit: int) -> list[Node]:
        nodes: list[Node] = []
        async for page in self._sampler.events(parse("")):
            for node in page:
                schema = node.event.schema
                if schema is not None and schema.subject == subject and node.event.rejection is None:
                    nodes.append(node)
            if len(nodes) >= limit:
                break
        return nodes[:limit]

    async def _compile(self, ref: SchemaRef) -> CompiledSchema | None:
        registered = await self._schemas.text_of(ref)
        compiled = None if registered is None else self._schemas.compile(registered)
        return None if isinstance(compiled, UnusableSchema) else compiled


class _Report:
    """Faults by reader, path without indexes, and message."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self.events = self.stored_events = 0
        self.versions: set[int] = set()
        self.failing: set[str] = set()
        self._faults: dict[tuple[str, str | None, str], models.SchemaFaultModel] = {}

    def count(self, node: Node, version: int | None, *, is_stored: bool) -> None:
        """Count an event that was checked. `is_stored`: it comes from the history."""
        self.events += 1
        self.stored_events += is_stored
        if version is not None:
            self.versions.add(version)

    def add(self, node: Node, reader: str, fault: PathFault | None, *, is_stored: bool) -> None:
        """Add the result of one check. A redacted field of the history has another value than the event had."""
        if fault is None or (is_stored and self._redactor.hides_place(f"body:{fault.path}")):
            return
        position = str(node.event.position)
        self.failing.add(position)
        path = self._redactor.path(fault.path)
        key = reader, path, fault.message
        known = self._faults.get(key)
        if known is None:
            known = self._faults[key] = models.SchemaFaultModel(
                reader=reader, path=path, message=fault.message, count=0, evidence=[]
            )
        known.count += 1
        if len(known.evidence) < MAX_EVIDENCE_PER_FAULT:
            known.evidence.append(position)

    def faults(self) -> list[models.SchemaFaultModel]:
        """Return the faults, the most frequent first."""
        return sorted(self._faults.values(), key=lambda fault: (-fault.count, fault.reader, fault.path or ""))
