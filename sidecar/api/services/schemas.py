"""Use cases of schemas: registered subjects, and the versions that the latest events used."""

from __future__ import annotations

from sidecar.api import models
from sidecar.api.mappers.events import coverage
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.domain.errors import NotFoundError
from sidecar.domain.json_safe import to_text
from sidecar.domain.ports.index import IndexReader

MAX_SUBJECTS_PER_PAGE = 200
"""Subjects on one page. Each costs three requests to the registry."""


class SchemaService:
    """Queries for schemas. Methods raise NotFoundError, Outage and Refused."""

    def __init__(self, catalog: SchemaCache, index: IndexReader) -> None:
        self._catalog, self._index = catalog, index

    async def subjects(self) -> models.SubjectPage:
        """Return every registered subject, without schema texts."""
        names = await self._catalog.subjects()
        held = coverage(self._index.coverage())
        if len(names) > MAX_SUBJECTS_PER_PAGE:
            held.note = (
                f"{len(names)} subjects are registered and the first {MAX_SUBJECTS_PER_PAGE} are listed: "
                "ask for one by name"
            )
        items = [await self._subject(name, None, with_text=False) for name in names[:MAX_SUBJECTS_PER_PAGE]]
        return models.SubjectPage(items=items, coverage=held)

    async def subject(self, name: str, version: int | None = None) -> models.SubjectPage:
        """Return one subject with the text of a version (None: the latest)."""
        item = await self._subject(name, version, with_text=True)
        if not item.versions:
            raise NotFoundError(f"the registry has no subject {name!r}")
        if version is not None and version not in item.versions:
            known = ", ".join(map(str, item.versions[-10:]))
            raise NotFoundError(f"{name!r} has no version {version}; it has {known}")
        return models.SubjectPage(items=[item], coverage=coverage(self._index.coverage()))

    async def _subject(self, subject: str, version: int | None, *, with_text: bool) -> models.SubjectModel:
        versions = await self._catalog.versions(subject)
        wanted = version if version in versions else None
        schema = await self._catalog.read_registered(subject, wanted) if versions else None
        item = models.SubjectModel(
            subject=subject,
            versions=versions,
            compatibility=await self._catalog.compatibility(subject) if versions else None,
            kind=None if schema is None else schema.kind,
            id=None if schema is None else schema.ref.id,
            seen=self._list_seen(subject),
        )
        if with_text:
            item.text = None if schema is None else schema.text
            lines = [] if schema is None else self._catalog.outline(schema)
            item.outline = [models.OutlineLineModel(line.depth, line.name, line.type) for line in lines]
        return item

    def _list_seen(self, subject: str) -> list[models.SeenSchemaModel]:
        streams: dict[tuple[int | None, int | None], set[str]] = {}
        for stream, schema in self._catalog.list_seen():
            if schema.ref.subject == subject:
                streams.setdefault((schema.ref.version, schema.ref.id), set()).add(to_text(stream))
        return [
            models.SeenSchemaModel(version=version, id=id, streams=sorted(names))
            for (version, id), names in streams.items()
        ]
