"""Syntax tree of a query, and its conversion back to text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from sidecar.domain.json_path import Step, print_steps

Comparison = Literal["", ">", ">=", "<", "<="]
PLAIN_NAME = re.compile(r'[^\s:()"\\]+')
_PLAIN_WORD = re.compile(r'[^\s()"\\*/<>=:-][^\s()"\\*/<>=:]*')
_PLAIN_VALUE = re.compile(r'[^\s()"\\*/<>=][^\s()"\\*]*')
KEYWORDS = ("OR", "AND", "NOT")


@dataclass(frozen=True, slots=True)
class ExactText:
    """The text itself."""

    text: str


@dataclass(frozen=True, slots=True)
class Wildcard:
    """Texts with any text between them: `Order*` is ("Order", ""), `*` is ("", "")."""

    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RegexText:
    """A regular expression in RE2's syntax that matches anywhere in a text."""

    pattern: str
    ignore_case: bool = False


Value = ExactText | Wildcard | RegexText


@dataclass(frozen=True, slots=True)
class Term:
    """One condition. Without a field it applies to every id."""

    field: str | None
    value: Value
    comparison: Comparison = ""
    path: tuple[Step, ...] = ()
    """Path of a condition on `body`; for `header`, its name."""


@dataclass(frozen=True, slots=True)
class Not:
    """Negation of an item."""

    item: Expression


@dataclass(frozen=True, slots=True)
class And:
    """Conjunction of items. An empty one is always true."""

    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Alternatives, of which at least one must match."""

    items: tuple[Expression, ...]


Expression = Term | Not | And | Or


def write(expression: Expression) -> str:
    """Return the query text that parses to this expression."""
    match expression:
        case Term():
            return _term(expression)
        case Not(item=item):
            return f"-{write(item)}" if isinstance(item, Term) else f"-({write(item)})"
        case And(items=items):
            return " ".join(f"({write(item)})" if isinstance(item, And | Or) else write(item) for item in items)
        case Or(items=items):
            return " OR ".join(f"({write(item)})" if isinstance(item, Or) else write(item) for item in items)


def _term(term: Term) -> str:
    value = _value(term.value, bare=term.field is None)
    if term.field is None:
        return value
    path = ""
    if term.field == "header":
        name = str(term.path[0])
        path = f".{name if PLAIN_NAME.fullmatch(name) else quote(name)}"
    elif term.field == "body":
        path = print_steps(term.path)
        path = path if path.startswith("[") else f".{path}"
    return f"{term.field}{path}:{term.comparison}{value}"


def _value(value: Value, *, bare: bool) -> str:
    match value:
        case RegexText(pattern=pattern, ignore_case=ignore_case):
            return "/" + pattern.replace("/", "\\/") + ("/i" if ignore_case else "/")
        case Wildcard(parts=parts):
            return "*".join(_escape(part) for part in parts)
        case ExactText(text=text):
            plain = (_PLAIN_WORD if bare else _PLAIN_VALUE).fullmatch(text)
            return text if plain and not (bare and text in KEYWORDS) else quote(text)


def quote(text: str) -> str:
    """Put a text in quotes."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _escape(part: str) -> str:
    return re.sub(r'[\s()"\\*/<>=:-]', lambda match: f"\\{match[0]}", part)
