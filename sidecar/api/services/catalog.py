"""The catalog: the types of events that flow, as the index, the brokers and the registry show them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from sidecar.api import models
from sidecar.api.mappers.consumer_groups import list_consumers
from sidecar.api.mappers.events import EventMapper, coverage
from sidecar.api.mappers.events import schema as schema_ref
from sidecar.api.services.event_sampler import EventSampler, SampleChoice, parse_metadata_query, value_size
from sidecar.api.services.pages import suggest_if_empty
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.json_safe import to_json, to_text
from sidecar.domain.ports.index import IndexReader
from sidecar.domain.timestamps import format_rfc3339
from sidecar.insights.catalog.entries import CatalogBuilder, CatalogEntry
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker

MAX_CATALOG_FLOWS = 500


class CatalogService:
    """Builds the catalog of the held events."""

    def __init__(
        self,
        *,
        service: str,
        index: IndexReader,
        sampler: EventSampler,
        mapper: EventMapper,
        schemas: SchemaCache,
        groups: ConsumerGroupTracker,
        owners: Mapping[str, str],
    ) -> None:
        """Create the service. `service`: name of the service; `owners`: team by a pattern of streams or types."""
        self._service, self._index, self._sampler, self._mapper = service, index, sampler, mapper
        self._schemas, self._groups, self._owners = schemas, groups, owners

    async def entries(self, query: str = "") -> models.CatalogPage:
        """Return the types of the newest events that match. Raises QueryError, Outage and Refused."""
        builder, samples = CatalogBuilder(self._owners), SampleChoice()
        async for nodes in self._sampler.events(parse_metadata_query(query)):
            builder.observe(nodes)
            samples.offer(nodes)
        await self._observe_causes(builder)
        async for node, decoded in self._sampler.payloads(samples.nodes()):
            headers = self._sampler.headers(decoded)
            body = to_json(self._mapper.body_of(decoded))
            builder.observe_payload(node, headers, body, value_size(decoded.record))
        entries = builder.entries(list_consumers(self._groups))
        for entry in entries:
            await self._add_schema(entry)
        return models.CatalogPage(
            items=list(map(_entry, entries)),
            service=self._service,
            coverage=coverage(self._index.coverage()),
            did_you_mean=suggest_if_empty(entries, query),
        )

    async def _observe_causes(self, builder: CatalogBuilder) -> None:
        async for flow in self._sampler.flows(MAX_CATALOG_FLOWS):
            nodes = {node.event.position: node for node in flow.nodes}
            for node in flow.nodes:
                if node.parent is not None and node.parent in nodes:
                    builder.observe_cause(node, nodes[node.parent])

    async def _add_schema(self, entry: CatalogEntry) -> None:
        """Add the text and the documentation of the latest schema; without them if the registry does not answer."""
        if not entry.schemas:
            return
        try:
            registered = await self._schemas.text_of(entry.schemas[0].ref)
        except (Outage, Refused):
            return
        if registered is not None:
            entry.schema_text, entry.schema_kind = registered.text, registered.kind
            entry.documentation = _documentation(registered.text)


def _documentation(text: str) -> str | None:
    """Return `doc` of an Avro schema or `description` of a JSON Schema."""
    try:
        schema = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    text_of_schema = schema.get("doc") or schema.get("description") if isinstance(schema, dict) else None
    return text_of_schema if isinstance(text_of_schema, str) else None


def _entry(entry: CatalogEntry) -> models.CatalogEntryModel:
    return models.CatalogEntryModel(
        stream=to_text(entry.stream),
        system=entry.system,
        type=None if entry.type is None else to_text(entry.type),
        events=entry.events,
        rejected=entry.rejected,
        first_seen=format_rfc3339(entry.first_seen * 1000),
        last_seen=format_rfc3339(entry.last_seen * 1000),
        rate=entry.rate,
        producers=list(map(to_text, entry.producers)),
        consumers=list(map(to_text, entry.consumers)),
        versions=list(map(to_text, entry.versions)),
        schemas=[
            models.SchemaUseModel(ref=ref, events=use.events, last_seen=format_rfc3339(use.last_seen * 1000))
            for use in entry.schemas
            if (ref := schema_ref(use.ref)) is not None
        ],
        aggregate_types=list(map(to_text, entry.aggregate_types)),
        causes=list(map(to_text, entry.causes)),
        owner=None if entry.owner is None else to_text(entry.owner),
        size_bytes=entry.size_bytes,
        max_size_bytes=entry.max_size_bytes,
        example=entry.example,
        documentation=entry.documentation,
        schema_text=entry.schema_text,
        schema_kind=entry.schema_kind,
    )
