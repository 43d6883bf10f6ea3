"""Fingerprints of failures: dead letters with the same cause get the same short hash.

The cause is the code, the path without indexes, and the text of the root cause, or of the message if no root cause is
known; variable parts of the text (quoted values, ids, numbers, times) are normalized. So 3,000 dead letters become a
dozen causes.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

from sidecar.domain.model import DeadLetter

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_IN_APOSTROPHES = re.compile(r"(?<!\w)'[^'\s]{1,200}'(?!\w)")
_MAY_BE_HEX = re.compile(r"[0-9a-fA-F]{8}")
_HEX = re.compile(
    r"""
      \b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b     # UUIDs
    | \b(?:0x)?(?=[a-fA-F]*[0-9])[0-9a-fA-F]{8,}\b
    """,
    re.VERBOSE,
)
_NUMBER = re.compile(r"[0-9]+(?:[.,:][0-9]+)*")
_INDEX = re.compile(r"\[\d+\]")

MAX_MESSAGE_CHARACTERS = 2_000
"""Longest part of a message that the fingerprint uses."""

FailureSignature = tuple[str, str | None, str]
"""Code, path without indexes, normalized text."""


@lru_cache(maxsize=1_024)
def normalize_message(message: str) -> str:
    """Replace quoted values, ids, numbers and times by `#`."""
    message = message[:MAX_MESSAGE_CHARACTERS]
    # Several passes, each of which begins with a character that is searched for quickly, take half the time of one.
    if '"' in message:
        message = _QUOTED.sub("#", message)
    if "'" in message:
        message = _IN_APOSTROPHES.sub("#", message)
    if _MAY_BE_HEX.search(message):
        message = _HEX.sub("#", message)
    return " ".join(_NUMBER.sub("#", message).split())


def cause_fingerprint(letter: DeadLetter) -> str:
    """Return twelve hex digits that are equal for dead letters of one stream, schema and failure signature."""
    if letter.cause is not None:
        return letter.cause
    code, path, message = failure_signature(letter)
    subject = letter.schema.subject if letter.schema else None
    return _fingerprint(letter.stream, code, path, message, subject)


def failure_signature(letter: DeadLetter) -> FailureSignature:
    """Return the signature of a failure without its stream, which is equal for the same failure on another stream."""
    root = letter.root_cause
    text = letter.message if root is None else f"{root.type}: {root.message}" if root.message else root.type
    return letter.code, without_indexes(letter.path), normalize_message(text)


def without_indexes(path: str | None) -> str | None:
    """Replace the indexes of a path by `[]`."""
    return _INDEX.sub("[]", path[:MAX_MESSAGE_CHARACTERS]) if path and "[" in path else path


@lru_cache(maxsize=1_024)
def _fingerprint(*parts: str | None) -> str:
    return hashlib.sha256(repr(parts).encode("utf-8", "backslashreplace")).hexdigest()[:12]
