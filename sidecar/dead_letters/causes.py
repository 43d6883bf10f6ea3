"""A cause: what dead letters have in common, as a short fingerprint. Three thousand letters read as a dozen causes."""

from __future__ import annotations

import hashlib
import re

from sidecar.model import DeadLetter

_VARYING = re.compile(
    r"""
      "(?:[^"\\]|\\.)*"                                                   # quoted values
    | \b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b     # UUIDs
    | \b(?:0x)?[0-9a-fA-F]{12,}\b                                          # long hex
    | -?\d+(?:[.,:]\d+)*                                                   # numbers, times
    """,
    re.VERBOSE,
)
_INDEX = re.compile(r"\[\d+\]")


def normalised(message: str) -> str:
    """The message without what varies from letter to letter: quoted values, ids and numbers become `#`."""
    return " ".join(_VARYING.sub("#", message[:2_000]).split())


def cause(letter: DeadLetter) -> str:
    """Twelve hex digits that are equal for letters of the same cause: stream, code, path (without indexes), message
    (normalised) and schema."""
    subject = letter.schema.subject if letter.schema else None
    path = _INDEX.sub("[]", letter.path) if letter.path else None
    parts = (letter.stream, letter.code, path, normalised(letter.message), subject)
    return hashlib.sha256(repr(parts).encode("utf-8", "backslashreplace")).hexdigest()[:12]
