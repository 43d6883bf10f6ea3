"""Rejections of events whose schema cannot be used: what was expected, and what the registry has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sidecar.decoding.formats.schema_format import CompiledSchema, UnusableSchema
from sidecar.domain.json_path import quote
from sidecar.domain.model import Rejection

_MAX_LISTED_SUBJECTS = 5
_MAX_LISTED_VERSIONS = 10
_MAX_MESSAGE_CHARACTERS = 2_000


def unknown_id(schema: str, stream: str) -> Rejection:
    """Reject a schema that the registry does not have. `schema` is its description, such as `schema id 7`."""
    return Rejection("schema.unknown_id", f"{schema} is not registered (needed by {printable(stream)})")


def wrong_subject(
    schema: str, subjects: Iterable[str], stream: str, compiled: CompiledSchema | UnusableSchema
) -> Rejection:
    """Reject a schema that is registered, but not for this stream."""
    others = sorted(set(subjects))
    listed = ", ".join(map(printable, others[:_MAX_LISTED_SUBJECTS]))
    if len(others) > _MAX_LISTED_SUBJECTS:
        listed += f" and {len(others) - _MAX_LISTED_SUBJECTS} more"
    message = f"{schema} belongs to {listed}; expected a schema of {printable(f'{stream}-value')}"
    if not isinstance(compiled, UnusableSchema) and compiled.name:
        message += f", {printable(f'{stream}-{compiled.name}')} or {printable(compiled.name)}"
    return Rejection("schema.wrong_subject", message[:_MAX_MESSAGE_CHARACTERS])


def unknown_subject(stream: str, candidates: Sequence[str]) -> Rejection:
    """Reject an event on a stream without a registered subject, if one is required."""
    expected = ", ".join(map(printable, candidates))
    message = f"no schema is registered for {printable(stream)}; expected a subject {expected}"
    return Rejection("schema.unknown_subject", message[:_MAX_MESSAGE_CHARACTERS])


def unknown_version(subject: str, version: int, versions: Sequence[int]) -> Rejection:
    """Reject a schema version that its subject does not have."""
    known = ", ".join(map(str, versions[-_MAX_LISTED_VERSIONS:]))
    message = f"version {version} of {printable(subject)} is not registered; expected one of {known}"
    return Rejection("schema.unknown_version", message)


def printable(name: str) -> str:
    """Quote a name so that it contains nothing that a terminal would interpret."""
    return quote(name)[1:-1]
