r"""Parser of queries: text to expression.

query    = [either]
either   = all { "OR" all }                         binds looser than words side by side
all      = one { ["AND"] one }
one      = ( "-" | "NOT " ) one | "(" either ")" | [ field ":" [ ">" | ">=" | "<" | "<=" ] ] value
field    = NAME | "header." NAME | "body" step { step }
step     = "." NAME | "[" STRING "]" | "[" NUMBER "]" | "[*]"        as in sidecar.domain.json_path
value    = '"' … '"' | "/" RE2 "/" [ "i" ] | word   in a word * matches any text, \ escapes the next character
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import NoReturn

from sidecar.domain import timestamps
from sidecar.domain.json_path import JsonPath, Step
from sidecar.query.ast import (
    PLAIN_NAME,
    And,
    Comparison,
    ExactText,
    Expression,
    Not,
    Or,
    RegexText,
    Term,
    Value,
    Wildcard,
)
from sidecar.query.comparison import parse_number, parse_time
from sidecar.query.fields import ALIASES, FIELDS, SPECIAL
from sidecar.query.tokenizer import Tokenizer

MAX_DEPTH = 30
"""Deepest nesting of parentheses and negations."""

_FIELD = re.compile(r"([A-Za-z_][A-Za-z0-9_.\[\]*-]*):")
_OTHER_OPERATOR = re.compile(r"([A-Za-z_][\w.\[\]*-]*?)(!=|<>|[=<>]+)")
_PAYLOAD = re.compile(r"(header|body)(?=[.\[])")
_REST_OF_WORD = re.compile(r"\S*")
_HEX = re.compile(r"[0-9a-fA-F]{0,32}")


def parse_expression(text: str) -> Expression:
    """Parse the expression of a query. Raises QueryError with the place and what was expected."""
    return _QueryParser(text).query()


class _QueryParser:
    def __init__(self, text: str) -> None:
        self._cursor = Tokenizer(text)
        self._depth = 0

    def query(self) -> Expression:
        self._cursor.skip_space()
        if self._cursor.at == len(self._cursor.text):
            return And(())
        expression = self._either()
        if self._cursor.at < len(self._cursor.text):
            self._cursor.fail("expected a ( before this )")
        return expression

    # --- and, or, not -------------------------------------------------------------------------------------------

    def _either(self) -> Expression:
        items = [self._all()]
        while self._cursor.take_keyword("OR"):
            items.append(self._all())
        return items[0] if len(items) == 1 else Or(tuple(items))

    def _all(self) -> Expression:
        items = [self._one()]
        while True:
            joined = self._cursor.take_keyword("AND")
            if not joined and (
                self._cursor.at == len(self._cursor.text)
                or self._cursor.peek() == ")"
                or self._cursor.keyword() == "OR"
            ):
                return items[0] if len(items) == 1 else And(tuple(items))
            items.append(self._one())

    def _one(self) -> Expression:
        self._cursor.skip_space()
        if self._cursor.peek() == "-" or self._cursor.keyword() == "NOT":
            self._cursor.at += 1 if self._cursor.peek() == "-" else len("NOT")
            self._cursor.skip_space()
            return Not(self._deeper())
        if self._cursor.peek() == "(":
            return self._group()
        return self._term()

    def _deeper(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._cursor.fail(f"expected at most {MAX_DEPTH} parentheses and negations within one another")
        expression = self._one()
        self._depth -= 1
        return expression

    def _group(self) -> Expression:
        opening = self._cursor.at
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._cursor.fail(f"expected at most {MAX_DEPTH} parentheses and negations within one another")
        self._cursor.at += 1
        expression = self._either()
        if self._cursor.peek() != ")":
            self._cursor.fail("expected a ) for this (", opening)
        self._cursor.at += 1
        self._depth -= 1
        self._cursor.skip_space()
        return expression

    # --- one condition ------------------------------------------------------------------------------------------

    def _term(self) -> Term:
        start = self._cursor.at
        if (keyword := self._cursor.keyword()) is not None:
            self._cursor.fail(f'expected a condition, found {keyword} (in quotes, to search for it: "{keyword}")')
        if self._cursor.peek() in ("", ")"):
            self._cursor.fail(f"expected a condition, found {self._cursor.describe_here()}")
        if payload := _PAYLOAD.match(self._cursor.text, start):
            if (term := self._payload_term(payload[1])) is not None:
                return term
            self._cursor.at = start
        field = _FIELD.match(self._cursor.text, start)
        if field is None:
            self._refuse_other_operator(start)
            return Term(None, self._cursor.value())
        name = ALIASES.get(field[1], field[1])
        if name not in FIELDS and name not in SPECIAL:
            if self._cursor.text.startswith("//", field.end()):  # a position
                return Term(None, self._cursor.value())
            self._unknown_field(field[1])
        self._cursor.at = field.end()
        return self._field_term(name)

    def _refuse_other_operator(self, start: int) -> None:
        """Refuse `status=rejected`: as a search for an id it would match nothing, and nothing would say why."""
        condition = _OTHER_OPERATOR.match(self._cursor.text, start)
        if condition is None:
            return
        name = condition[1]
        if name in ALIASES or name in FIELDS or name in SPECIAL or name.startswith(("header.", "body.", "body[")):
            self._cursor.fail(
                f"expected a : after {name}, found {condition[2]} (in quotes, it is searched for literally)",
                condition.start(2),
            )

    def _field_term(self, name: str) -> Term:
        at = self._cursor.at
        comparison = self._cursor.comparison()
        value_at = self._cursor.at
        value = self._cursor.value()
        if name in ("since", "until"):
            return self._time_term(name, comparison, value, at)
        field = FIELDS[name]
        if comparison and not field.ordered:
            self._cursor.fail(f"expected a value: {name} does not support {comparison}", at)
        self._check_comparison(comparison, value, value_at)
        if name == "trace":
            value = self._trace(value, value_at)
        if field.values and isinstance(value, ExactText) and value.text not in field.values:
            near = get_close_matches(value.text, field.values, n=1)
            perhaps = f" (perhaps {near[0]})" if near else ""
            self._cursor.fail(
                f"expected one of {', '.join(field.values)}, found {value.text[:60]!r}{perhaps}", value_at
            )
        return Term(name, value, comparison)

    def _payload_term(self, name: str) -> Term | None:
        """Parse a condition on a header or the body. Returns None for a word that only begins like one."""
        start = self._cursor.at
        self._cursor.at += len(name)
        path = self._path() if name == "body" else self._header_name()
        if path is None or self._cursor.peek() != ":":
            if ":" in self._cursor.match(_REST_OF_WORD):
                self._cursor.fail(f"expected {'body.PATH:' if name == 'body' else 'header.NAME:'} and a value", start)
            return None
        self._cursor.at += 1
        comparison = self._cursor.comparison()
        value_at = self._cursor.at
        value = self._cursor.value()
        self._check_comparison(comparison, value, value_at)
        return Term(name, value, comparison, path)

    def _header_name(self) -> tuple[Step, ...] | None:
        self._cursor.at += 1
        name = self._cursor.take_quoted() if self._cursor.peek() == '"' else self._cursor.match(PLAIN_NAME)
        return (name,) if name else None

    def _path(self) -> tuple[Step, ...] | None:
        scanned = JsonPath.scan(self._cursor.text, self._cursor.at)
        if scanned is None:
            return None
        path, self._cursor.at = scanned
        return path.steps

    def _time_term(self, name: str, comparison: Comparison, value: Value, at: int) -> Term:
        expected = "expected a duration such as 15m, or a time such as 2026-01-31T12:00:00Z"
        if comparison or not isinstance(value, ExactText):
            self._cursor.fail(expected, at)
        try:
            timestamps.parse_duration(value.text)
        except ValueError:
            if parse_time(value.text) is None:
                self._cursor.fail(f"{expected}, found {value.text[:60]!r}", at)
        return Term(name, value)

    def _trace(self, value: Value, at: int) -> Value:
        if isinstance(value, ExactText) and len(value.text) in (16, 32) and _HEX.fullmatch(value.text):
            return ExactText(value.text.lower().zfill(32))
        if isinstance(value, Wildcard) and all(map(_HEX.fullmatch, value.parts)):
            return Wildcard(tuple(part.lower() for part in value.parts))
        if not isinstance(value, RegexText):
            self._cursor.fail("expected a trace id of 32 (or 16) hex digits, or the beginning of one and a *", at)
        return value

    def _check_comparison(self, comparison: Comparison, value: Value, at: int) -> None:
        if not comparison:
            return
        if not isinstance(value, ExactText) or (parse_number(value.text) is None and parse_time(value.text) is None):
            self._cursor.fail(f"expected a number or a time after {comparison}", at)

    def _unknown_field(self, name: str) -> NoReturn:
        if name in ("header", "body"):
            self._cursor.fail(f"expected {name}.{'NAME' if name == 'header' else 'PATH'}, such as {_EXAMPLES[name]}")
        near = [f"body.{name}"] if "." in name else get_close_matches(name.lower(), [*FIELDS, "since", "until"], n=1)
        known = f"perhaps {near[0]}:" if near else f"one of {', '.join(FIELDS)}, since, until, header.NAME, body.PATH"
        self._cursor.fail(f"expected a field ({known}), found {name[:60]!r} (in quotes, it is searched for literally)")


_EXAMPLES = {"header": "header.traceparent:*", "body": "body.data.total:>100"}
