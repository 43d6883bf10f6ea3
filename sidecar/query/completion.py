"""Completion of queries during typing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from sidecar.query.fields import ALIASES, FIELDS, SPECIAL

MAX_SUGGESTIONS = 20
_WORD = re.compile(r'(?:^|[\s(])-?([^\s()"]*)$')


def complete(text: str, at: int, seen: Mapping[str, Sequence[str]] | None = None) -> tuple[int, list[str]]:
    """Suggest completions for the word before the cursor.

    Returns the index where the word starts, and the suggestions, best first. `seen` has recent values of fields
    (streams, types, header names as `header.`) for further suggestions.
    """
    match = _WORD.search(text[:at])
    if match is None:
        return at, []
    word, start = match[1], match.start(1)
    field, colon, begun = word.partition(":")
    if not colon:
        return start, [name for name in _names(seen or {}) if name.startswith(word) and name != word][:MAX_SUGGESTIONS]
    name = ALIASES.get(field, field)
    known = [*(FIELDS[name].values if name in FIELDS else ()), *_TIMES.get(name, ()), *(seen or {}).get(name, ())]
    return start + len(field) + 1, [value for value in dict.fromkeys(known) if value.startswith(begun)][
        :MAX_SUGGESTIONS
    ]


_TIMES = {"since": ("5m", "15m", "1h", "24h"), "until": ("5m", "15m", "1h")}


def _names(seen: Mapping[str, Sequence[str]]) -> list[str]:
    headers = [f"header.{name}:" for name in seen.get("header.", ())]
    paths = [f"body.{path}:" for path in seen.get("body.", ())]
    return [*(f"{name}:" for name in FIELDS), *(s if s.endswith(".") else f"{s}:" for s in SPECIAL), *headers, *paths]
