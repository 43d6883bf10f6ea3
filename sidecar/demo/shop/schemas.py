"""The shop's Avro schemas, by subject and version and by registry id."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import fastavro

DIRECTORY = Path(__file__).parent.parent / "schemas"
"""Files `SUBJECT.avsc`, or `SUBJECT/VERSION.avsc` for several versions. It is also the sidecar's registry."""


class SchemaVersion(NamedTuple):
    """A version of a subject."""

    subject: str
    version: int
    id: int
    schema: Any
    """Parsed by fastavro."""
    text: dict[str, Any]


class ShopSchemas:
    """All schemas of the shop."""

    def __init__(self, directory: Path, ids: Mapping[tuple[str, int], int]) -> None:
        """Load the schemas. `ids`: registry id by subject and version."""
        self._versions: dict[str, dict[int, SchemaVersion]] = {}
        self._by_id: dict[int, SchemaVersion] = {}
        for subject, version, path in list_versions(directory):
            text = json.loads(path.read_text())
            schema = SchemaVersion(subject, version, ids[subject, version], fastavro.parse_schema(text), text)
            self._versions.setdefault(subject, {})[version] = schema
            self._by_id[schema.id] = schema

    def of(self, subject: str, version: int | None = None) -> SchemaVersion:
        """Return a version of a subject; None is the latest. Raises KeyError if it does not exist."""
        by_version = self._versions[subject]
        return by_version[max(by_version) if version is None else version]

    def with_id(self, id: int) -> SchemaVersion | None:
        """Return the schema with a registry id."""
        return self._by_id.get(id)


def list_versions(directory: Path = DIRECTORY) -> list[tuple[str, int, Path]]:
    """List subject, version and file of all schemas in the directory, sorted."""
    single = [(path.stem, 1, path) for path in directory.glob("*.avsc")]
    several = [(path.parent.name, int(path.stem), path) for path in directory.glob("*/*.avsc")]
    return sorted(single + several)
