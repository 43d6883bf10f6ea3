"""Regular expressions by RE2: linear time for every expression and text, and bounded memory.

RE2 has neither look-around nor back-references.
"""

from __future__ import annotations

from collections.abc import Callable

import re2

MAX_PATTERN_CHARACTERS = 500
"""Longest pattern that is compiled."""
_MAX_MEMORY_BYTES = 1 << 20


class InvalidRegex(Exception):
    """A text that is not a regular expression of RE2. The message says why."""


def build_searcher(pattern: str, *, ignore_case: bool = False) -> Callable[[str], bool]:
    """Build a predicate that is True for texts with a match. Raises InvalidRegex."""
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise InvalidRegex(f"longer than {MAX_PATTERN_CHARACTERS} characters")
    options = re2.Options()
    options.max_mem = _MAX_MEMORY_BYTES
    options.log_errors = False
    options.case_sensitive = not ignore_case
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else b""
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise InvalidRegex("".join(c if c.isprintable() else "·" for c in text)) from None
    except UnicodeEncodeError:
        raise InvalidRegex("characters that are no Unicode text") from None

    def search(text: str) -> bool:
        try:
            return compiled.search(text) is not None
        except UnicodeEncodeError:  # bytes that are no text stand as surrogates
            return compiled.search(text.encode("utf-8", "replace").decode()) is not None

    return search
