"""The shop's Avro schemas, as its serialisers know them from the registry: by subject and version, and by id."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import fastavro

DIRECTORY = Path(__file__).parent.parent / "schemas"
"""`SUBJECT.avsc`, or `SUBJECT/VERSION.avsc` where there are several versions: also the sidecar's registry."""


class SchemaVersion(NamedTuple):
    """One version of a subject."""

    subject: str
    version: int
    id: int
    schema: Any
    """Parsed by fastavro."""
    text: dict[str, Any]


class ShopSchemas:
    """All of them, loaded once."""

    def __init__(self, directory: Path, ids: Mapping[tuple[str, int], int]) -> None:
        """`ids`: the registry's id of each (subject, version)."""
        self._versions: dict[str, dict[int, SchemaVersion]] = {}
        self._by_id: dict[int, SchemaVersion] = {}
        for subject, version, path in versions(directory):
            text = json.loads(path.read_text())
            one = SchemaVersion(subject, version, ids[subject, version], fastavro.parse_schema(text), text)
            self._versions.setdefault(subject, {})[version] = one
            self._by_id[one.id] = one

    def of(self, subject: str, version: int | None = None) -> SchemaVersion:
        """A version of a subject, the latest for None. Raises KeyError where there is none."""
        held = self._versions[subject]
        return held[max(held) if version is None else version]

    def with_id(self, id: int) -> SchemaVersion | None:
        return self._by_id.get(id)


def versions(directory: Path = DIRECTORY) -> list[tuple[str, int, Path]]:
    """Subject, version and file of everything in the directory, in order."""
    single = [(path.stem, 1, path) for path in directory.glob("*.avsc")]
    several = [(path.parent.name, int(path.stem), path) for path in directory.glob("*/*.avsc")]
    return sorted(single + several)
