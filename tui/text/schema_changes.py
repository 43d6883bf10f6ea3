"""Outlines of schemas, and the changes between two of them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import msgspec

from sidecar.api import models

OutlineLine = tuple[int, str, str]
"""Depth, name and type of a field."""


def outline_of(subject: models.SubjectModel) -> list[OutlineLine]:
    """Return the outline of a subject's schema. An older sidecar sends none: then the lines of the text."""
    if subject.outline is not msgspec.UNSET:
        return [(line.depth, line.name, line.type) for line in subject.outline]
    return [(0, line, "") for line in (subject.text or "").split("\n")]


def differences(before: Sequence[OutlineLine], after: Sequence[OutlineLine]) -> list[tuple[str, int, str, str]]:
    """Return the lines of `after`, each prefixed with ` `, `+` or `-` compared to `before`."""
    result: list[tuple[str, int, str, str]] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            result += [(" ", *line) for line in after[c:d]]
        else:
            result += [("-", *line) for line in before[a:b]]
            result += [("+", *line) for line in after[c:d]]
    return result
