"""Subject names: the subjects of a registry that can hold the schemas of a stream's values."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sidecar.decoding.formats.schema_format import CompiledSchema, UnusableSchema

_RECORD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


def subject_candidates(stream: str, event_type: str | None) -> list[str]:
    """List the subjects for a record that names no schema, the most exact first.

    The strategies are TopicRecordName, TopicName and RecordName.
    """
    if event_type is None:
        return [f"{stream}-value"]
    return [f"{stream}-{event_type}", f"{stream}-value", event_type]


def belongs_to_stream(subject: str, stream: str, compiled: CompiledSchema | UnusableSchema) -> bool:
    """Check whether a stream's values may be registered under a subject, by any of the three strategies.

    The record's name is unknown for an unusable schema: then any subject matches that is not another topic's.
    """
    subject = unqualified_subject(subject)
    if subject == f"{stream}-value":
        return True
    if isinstance(compiled, UnusableSchema):
        return not subject.endswith(("-value", "-key"))
    return compiled.name is not None and subject in (compiled.name, f"{stream}-{compiled.name}")


def names_stream(subject: str, stream: str) -> bool:
    """Check whether a subject is named after a stream's values, such as `orders-value` or `orders-shop.Order`."""
    subject = unqualified_subject(subject)
    if not subject.startswith(f"{stream}-"):
        return False
    rest = subject[len(stream) + 1 :]
    return rest != "key" and _RECORD_NAME.fullmatch(rest) is not None


def unqualified_subject(subject: str) -> str:
    """Strip the context that Confluent's registry may write before a subject, `:.context:`."""
    return subject.split(":", 2)[2] if subject.startswith(":.") and subject.count(":") > 1 else subject


def split_subjects(subjects: Iterable[str], stream: str) -> tuple[list[str], list[str]]:
    """Split subjects into those whose name begins with the stream's, and the others."""
    own: list[str] = []
    others: list[str] = []
    for subject in subjects:
        (own if unqualified_subject(subject).startswith(f"{stream}-") else others).append(subject)
    return own, others
