"""Suggestion of a query that was probably meant: `status=rejected` is `status:rejected`.

The API, the command line and the dashboard show it for a query that cannot be parsed, or that matches nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

from sidecar.domain.errors import QueryError
from sidecar.query.ast import KEYWORDS
from sidecar.query.fields import ALIASES, FIELDS, STATUSES
from sidecar.query.parser import parse_expression
from sidecar.query.tokenizer import MAX_CHARACTERS

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[()]|(?:[^\s()"]|"(?:[^"\\]|\\.)*")+')
_SPACED_OPERATOR = re.compile(
    r"([A-Za-z_][\w.\[\]*-]*)\s*(==|!=|<>|>=|<=|=|>|<|:)\s+(?=\S)|([A-Za-z_]\w*)\s+(==|!=|<>|=)"
)
_CONDITION = re.compile(r"(-|!)?([A-Za-z_][\w.\[\]*-]*?)(:?(?:==|!=|<>|>=|<=|=|>|<)|:)(.+)", re.DOTALL)
_NEGATED = ("!=", "<>")
_ORDERED = (">", ">=", "<", "<=")
_PAYLOAD = ("header.", "body.", "body[")
_TIME_FIELDS = ("since", "until")
_DURATION = re.compile(r"[0-9]+(?:ms|[smhdw])")
_LONG_ID_CHARACTERS = 16
"""An id of this length was copied whole: a part of another id is not suggested for it."""

_SYNONYMS = {
    "rejected": ("failed", "fail", "failing", "failure", "failures", "error", "errors", "invalid", "broken", "reject"),
    "duplicate": ("duplicated", "duplicates", "dup", "dups", "twice"),
    "replayed": ("replay", "resent", "retried"),
    "ok": ("passed", "success", "successful", "valid"),
}
_STATUS_WORDS = {word: status for status, words in _SYNONYMS.items() for word in (status, *words)} | {
    "unchecked": "unchecked"
}
_FIELD_SYNONYMS = {
    "topic": "stream",
    "queue": "stream",
    "id": "event",
    "service": "producer",
    "traceid": "trace",
    "eventid": "event",
    "aggregateid": "aggregate",
    "correlationid": "correlation",
    "causationid": "causation",
    "offset": "position",
    "from": "since",
    "after": "since",
    "before": "until",
    "error": "message",
    "eventtype": "type",
    "event_type": "type",
}
_IGNORED_WORDS = ("the", "a", "of", "with", "all", "for", "in", "where", "that", "which", "is", "are", "events", "show")


def suggest_query(text: str) -> str | None:
    """Return the query that was probably meant, or None if no better one is known.

    A suggestion can be parsed, and differs from the text.
    """
    if len(text) > MAX_CHARACTERS:
        return None
    suggestion = _join(_rewrite_words(_TOKEN.findall(_close_spaces(text))))
    if not suggestion or suggestion.split() == text.split():
        return None
    try:
        parse_expression(suggestion)
    except QueryError:
        return None
    return suggestion


def _close_spaces(text: str) -> str:
    """Remove spaces around an operator behind the name of a field: `status = rejected`."""

    def close(match: re.Match[str]) -> str:
        name, operator = (match[1], match[2]) if match[1] else (match[3], match[4])
        return f"{name}{operator}" if _resolve_field(name) is not None else match[0]

    return re.sub(r"(==|!=|<>|=)\s+", r"\1", _SPACED_OPERATOR.sub(close, text))


def _join(words: Sequence[str]) -> str:
    return re.sub(r"\(\s+|\s+\)", lambda match: match[0].strip(), " ".join(words))


def _rewrite_words(words: Sequence[str]) -> list[str]:
    rewritten: list[str] = []
    at = 0
    while at < len(words):
        word, following = words[at], words[at + 1] if at + 1 < len(words) else None
        pair = None if following is None else _rewrite_pair(word, following)
        if pair is not None:
            rewritten.append(pair)
            at += 2
            continue
        at += 1
        if len(words) == 1 or word.lower() not in _IGNORED_WORDS:
            rewritten.append(_rewrite_word(word, alone=len(words) == 1))
    return rewritten


def _rewrite_pair(word: str, following: str) -> str | None:
    """Return the condition that two words mean: `order 2063`, `stream orders`, `last 15m`."""
    if not word.isidentifier() or word.upper() in KEYWORDS or ":" in following or following in "()":
        return None
    name = word.lower()
    if name in ("since", "until", "last", "past") and _DURATION.fullmatch(following):
        return f"{'until' if name == 'until' else 'since'}:{following}"
    if name in _STATUS_WORDS or following.lower() in _STATUS_WORDS or name in _IGNORED_WORDS:
        return None
    field = _FIELD_SYNONYMS.get(name, ALIASES.get(name, name))
    if field in FIELDS:
        return _rewrite_condition("", field, ":", following)
    if _DURATION.fullmatch(following):
        return None
    if any(character.isdigit() for character in following) and "*" not in following and '"' not in following:
        return f"aggregate:*{following}" if len(following) < _LONG_ID_CHARACTERS else following
    return None


def _rewrite_word(word: str, *, alone: bool) -> str:
    if word in "()" or word in KEYWORDS or word[0] == '"':
        return word
    if word.upper() in KEYWORDS:
        return word.upper()
    condition = _CONDITION.fullmatch(word)
    if condition is not None and not condition[4].startswith("//"):
        field = _resolve_field(condition[2])
        if field is not None:
            return _rewrite_condition(condition[1] or "", field, condition[3], condition[4]) or word
        return word
    sign, bare = ("-", word[1:]) if word[0] in "-!" and len(word) > 1 else ("", word)
    status = _STATUS_WORDS.get(bare.lower())
    if status is not None:
        return f"{sign}status:{status}"
    if _DURATION.fullmatch(bare) and not sign:
        return f"since:{bare}"
    return f"{sign}{_widen(bare, alone=alone)}"


def _widen(word: str, *, alone: bool) -> str:
    """Return a condition for a part of an id or name: `2063` is `*2063*`, `OrderCreated` is `type:*OrderCreated*`."""
    if not re.fullmatch(r"[\w.-]+", word) or not 3 <= len(word) < 2 * _LONG_ID_CHARACTERS:
        return word
    if any(character.isdigit() for character in word):
        return f"*{word}*" if len(word) < _LONG_ID_CHARACTERS and (alone or word.isdecimal()) else word
    return f"{'type' if word[0].isupper() else 'stream'}:*{word}*"


def _rewrite_condition(sign: str, field: str, operator: str, value: str) -> str | None:
    """Return a condition in the grammar of queries."""
    operator = operator if operator == ":" else operator.lstrip(":")
    sign = "-" if (sign != "") != (operator in _NEGATED) else ""
    value = _unquote(value)
    while value[:1] in ("=", ":") and value[1:]:
        value = value[1:]
    comparison = operator if operator in _ORDERED and field not in _TIME_FIELDS else ""
    known = FIELDS.get(field)
    if known is not None and known.values and not comparison:
        value = _resolve_value(field, value, known.values)
    return f"{sign}{field}:{comparison}{value}"


def _unquote(value: str) -> str:
    """Return a value without the quotes of SQL; quotes of the query language stay."""
    if len(value) > 2 and value[0] == value[-1] == "'":
        return f'"{value[1:-1]}"' if re.search(r'[\s()"\\*:]', value[1:-1]) else value[1:-1]
    return value


def _resolve_value(field: str, value: str, values: Sequence[str]) -> str:
    """Return the value of a field with a fixed set of values that resembles a text."""
    lower = value.strip('"').lower()
    if lower in values:
        return lower
    if field == "status" and lower in _STATUS_WORDS and _STATUS_WORDS[lower] in STATUSES:
        return _STATUS_WORDS[lower]
    endings = [candidate for candidate in values if candidate.endswith(f".{lower}")]
    near = endings or get_close_matches(lower, values, n=1)
    return near[0] if near else value


def _resolve_field(name: str) -> str | None:
    """Return the field that a name means, also if it is misspelled. None if it resembles no field."""
    if name.startswith(_PAYLOAD):
        return name
    lower = name.lower()
    if lower in FIELDS or lower in _TIME_FIELDS:
        return lower
    if lower in ALIASES or lower in _FIELD_SYNONYMS:
        return ALIASES.get(lower) or _FIELD_SYNONYMS[lower]
    if "." in name:
        return f"body.{name}"
    near = get_close_matches(lower, [*FIELDS, *_TIME_FIELDS], n=1, cutoff=0.7)
    return near[0] if near else None
