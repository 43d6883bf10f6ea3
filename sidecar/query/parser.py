"""Text to expression.

query    = [either]
either   = all { "OR" all }                         binds looser than words side by side
all      = one { ["AND"] one }
one      = ( "-" | "NOT " ) one | "(" either ")" | [ field ":" [ ">" | ">=" | "<" | "<=" ] ] value
field    = NAME | "header." NAME | "body" step { step }
step     = "." NAME | "[" NUMBER "]" | "[*]"        NAMEs in quotes where they are not plain
value    = '"' … '"' | "/" RE2 "/" [ "i" ] | word   in a word * stands for anything, \\ takes what follows as it is
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import NoReturn

from sidecar import times
from sidecar.errors import QueryError
from sidecar.query.expression import (
    PLAIN_NAME,
    PLAIN_STEP,
    And,
    Comparison,
    Exact,
    Expression,
    Not,
    Or,
    Regex,
    Step,
    Term,
    Value,
    Wildcard,
)
from sidecar.query.fields import ALIASES, FIELDS, SPECIAL
from sidecar.query.values import moment, number

MAX_CHARACTERS = 2_000
MAX_DEPTH = 30
"""Parentheses and negations within one another."""

_FIELD = re.compile(r"([A-Za-z_][A-Za-z0-9_.\[\]*-]*):")
_PAYLOAD = re.compile(r"(header|body)(?=[.\[])")
_COMPARISON = re.compile(r">=|<=|>|<")
_KEYWORD = re.compile(r"(OR|AND|NOT)(?=[\s()]|$)")
_INDEX = re.compile(r"\[([0-9]{1,9}|\*)\]")
_HEX = re.compile(r"[0-9a-fA-F]{0,32}")
_END = "the end of the query"


def parse_expression(text: str) -> Expression:
    """The expression that a query writes. Raises QueryError, saying where and what was expected."""
    return _Parser(text).query()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        if len(text) > MAX_CHARACTERS:
            self._fail(f"expected at most {MAX_CHARACTERS} characters, found {len(text)}", MAX_CHARACTERS)

    def query(self) -> Expression:
        self._skip_space()
        if self._at == len(self._text):
            return And(())
        found = self._either()
        if self._at < len(self._text):
            self._fail("expected a ( before this )")
        return found

    # --- and, or, not -------------------------------------------------------------------------------------------

    def _either(self) -> Expression:
        items = [self._all()]
        while self._take_keyword("OR"):
            items.append(self._all())
        return items[0] if len(items) == 1 else Or(tuple(items))

    def _all(self) -> Expression:
        items = [self._one()]
        while True:
            joined = self._take_keyword("AND")
            if not joined and (self._at == len(self._text) or self._peek() == ")" or self._keyword() == "OR"):
                return items[0] if len(items) == 1 else And(tuple(items))
            items.append(self._one())

    def _one(self) -> Expression:
        self._skip_space()
        if self._peek() == "-" or self._keyword() == "NOT":
            self._at += 1 if self._peek() == "-" else len("NOT")
            self._skip_space()
            return Not(self._deeper())
        if self._peek() == "(":
            return self._group()
        return self._term()

    def _deeper(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(f"expected at most {MAX_DEPTH} parentheses and negations within one another")
        found = self._one()
        self._depth -= 1
        return found

    def _group(self) -> Expression:
        opening = self._at
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(f"expected at most {MAX_DEPTH} parentheses and negations within one another")
        self._at += 1
        found = self._either()
        if self._peek() != ")":
            self._fail("expected a ) for this (", opening)
        self._at += 1
        self._depth -= 1
        self._skip_space()
        return found

    # --- one condition ------------------------------------------------------------------------------------------

    def _term(self) -> Term:
        start = self._at
        if (keyword := self._keyword()) is not None:
            self._fail(f'expected a condition, found {keyword} (in quotes, to look for it: "{keyword}")')
        if self._peek() in ("", ")"):
            self._fail(f"expected a condition, found {self._found()}")
        if payload := _PAYLOAD.match(self._text, start):
            if (term := self._payload_term(payload[1])) is not None:
                return term
            self._at = start
        field = _FIELD.match(self._text, start)
        if field is None:
            return Term(None, self._value())
        name = ALIASES.get(field[1], field[1])
        if name not in FIELDS and name not in SPECIAL:
            if self._text.startswith("//", field.end()):  # a position
                return Term(None, self._value())
            self._unknown_field(field[1])
        self._at = field.end()
        return self._field_term(name)

    def _field_term(self, name: str) -> Term:
        at = self._at
        comparison = self._comparison()
        value_at = self._at
        value = self._value()
        if name in ("since", "until"):
            return self._time_term(name, comparison, value, at)
        field = FIELDS[name]
        if comparison and not field.ordered:
            self._fail(f"expected a value: {name} knows no {comparison}", at)
        self._check_comparison(comparison, value, value_at)
        if name == "trace":
            value = self._trace(value, value_at)
        if field.values and isinstance(value, Exact) and value.text not in field.values:
            near = get_close_matches(value.text, field.values, n=1)
            perhaps = f" (perhaps {near[0]})" if near else ""
            self._fail(f"expected one of {', '.join(field.values)}, found {value.text[:60]!r}{perhaps}", value_at)
        return Term(name, value, comparison)

    def _payload_term(self, name: str) -> Term | None:
        """A condition on a header or in the body; None where this is a word that only begins so."""
        start = self._at
        self._at += len(name)
        path = self._path() if name == "body" else self._header_name()
        if path is None or self._peek() != ":":
            colon = self._text.find(":", self._at)
            word_end = next((i for i in range(self._at, len(self._text)) if self._text[i].isspace()), len(self._text))
            if 0 <= colon < word_end:
                self._fail(f"expected {'body.PATH:' if name == 'body' else 'header.NAME:'} and a value", start)
            return None
        self._at += 1
        comparison = self._comparison()
        value_at = self._at
        value = self._value()
        self._check_comparison(comparison, value, value_at)
        return Term(name, value, comparison, path)

    def _header_name(self) -> tuple[Step, ...] | None:
        self._at += 1
        name = self._quoted() if self._peek() == '"' else self._match(PLAIN_NAME)
        return (name,) if name else None

    def _path(self) -> tuple[Step, ...] | None:
        steps: list[Step] = []
        while self._peek() in (".", "["):
            if index := _INDEX.match(self._text, self._at):
                steps.append(None if index[1] == "*" else int(index[1]))
                self._at = index.end()
                continue
            if self._peek() == "[":
                return None
            self._at += 1
            name = self._quoted() if self._peek() == '"' else self._match(PLAIN_STEP)
            if not name:
                return None
            steps.append(name)
        return tuple(steps) or None

    def _time_term(self, name: str, comparison: Comparison, value: Value, at: int) -> Term:
        expected = "expected a length of time such as 15m, or a time such as 2026-01-31T12:00:00Z"
        if comparison or not isinstance(value, Exact):
            self._fail(expected, at)
        try:
            times.seconds(value.text)
        except ValueError:
            if moment(value.text) is None:
                self._fail(f"{expected}, found {value.text[:60]!r}", at)
        return Term(name, value)

    def _trace(self, value: Value, at: int) -> Value:
        if isinstance(value, Exact) and len(value.text) in (16, 32) and _HEX.fullmatch(value.text):
            return Exact(value.text.lower().zfill(32))
        if isinstance(value, Wildcard) and all(map(_HEX.fullmatch, value.parts)):
            return Wildcard(tuple(part.lower() for part in value.parts))
        if not isinstance(value, Regex):
            self._fail("expected a trace id of 32 (or 16) hex digits, or the beginning of one and a *", at)
        return value

    def _check_comparison(self, comparison: Comparison, value: Value, at: int) -> None:
        if not comparison:
            return
        if not isinstance(value, Exact) or (number(value.text) is None and moment(value.text) is None):
            self._fail(f"expected a number or a time after {comparison}", at)

    # --- values -------------------------------------------------------------------------------------------------

    def _comparison(self) -> Comparison:
        found = _COMPARISON.match(self._text, self._at)
        if found is None:
            return ""
        self._at = found.end()
        match found[0]:
            case ">" | ">=" | "<" | "<=" as comparison:
                return comparison
        return ""

    def _value(self) -> Value:
        if self._peek() == '"':
            value: Value = Exact(self._quoted())
        elif self._peek() == "/":
            value = self._regex()
        else:
            value = self._word()
        if self._at < len(self._text) and self._peek() not in ")" and not self._peek().isspace():
            self._fail(f"expected a space, found {self._found()} (in quotes, it is looked for as it is)")
        self._skip_space()
        return value

    def _quoted(self) -> str:
        opening = self._at
        parts: list[str] = []
        self._at += 1
        while self._peek() != '"':
            if self._peek() == "\\":
                self._at += 1
            if self._at >= len(self._text):
                self._fail('expected a " to end this text', opening)
            parts.append(self._peek())
            self._at += 1
        self._at += 1
        return "".join(parts)

    def _regex(self) -> Value:
        opening = self._at
        parts: list[str] = []
        self._at += 1
        while self._peek() != "/":
            if self._at >= len(self._text):
                self._fail("expected a / to end this regular expression (in quotes, / is looked for as it is)", opening)
            if self._peek() == "\\":
                escaped = self._text[self._at + 1 : self._at + 2]
                parts.append("/" if escaped == "/" else f"\\{escaped}")
                self._at += 2
                continue
            parts.append(self._peek())
            self._at += 1
        self._at += 1
        ignore_case = self._peek() == "i"
        self._at += ignore_case
        return self._checked(Regex("".join(parts), ignore_case), opening)

    def _checked(self, regex: Regex, at: int) -> Regex:
        from sidecar.query.patterns import BadPattern, searcher  # only who asks for it pays for RE2

        try:
            searcher(regex.pattern, ignore_case=regex.ignore_case)
        except BadPattern as bad:
            self._fail(f"expected a regular expression (of RE2), found {bad}", at)
        return regex

    def _word(self) -> Value:
        start = self._at
        parts = [""]
        while (character := self._peek()) and not character.isspace() and character not in '()"':
            self._at += 1
            if character == "*":
                parts.append("")
                continue
            if character == "\\":
                character = self._peek()
                if not character:
                    self._fail("expected a character after this \\", self._at - 1)
                self._at += 1
            parts[-1] += character
        if self._at == start:
            self._fail(f"expected a value, found {self._found()}")
        return Exact(parts[0]) if len(parts) == 1 else Wildcard(_squeezed(parts))

    # --- characters ---------------------------------------------------------------------------------------------

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip_space(self) -> None:
        while self._peek().isspace():
            self._at += 1

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            return ""
        self._at = found.end()
        return found[0]

    def _keyword(self) -> str | None:
        found = _KEYWORD.match(self._text, self._at)
        return found[1] if found else None

    def _take_keyword(self, word: str) -> bool:
        if self._keyword() != word:
            return False
        self._at += len(word)
        self._skip_space()
        return True

    def _found(self) -> str:
        return self._peek() or _END

    def _unknown_field(self, name: str) -> NoReturn:
        if name in ("header", "body"):
            self._fail(f"expected {name}.{'NAME' if name == 'header' else 'PATH'}, such as {_EXAMPLES[name]}")
        near = [f"body.{name}"] if "." in name else get_close_matches(name.lower(), [*FIELDS, "since", "until"], n=1)
        known = f"perhaps {near[0]}:" if near else f"one of {', '.join(FIELDS)}, since, until, header.NAME, body.PATH"
        self._fail(f"expected a field ({known}), found {name[:60]!r} (in quotes, it is looked for as it is)")

    def _fail(self, message: str, at: int | None = None) -> NoReturn:
        raise QueryError(message, self._text, min(self._at if at is None else at, len(self._text)))


_EXAMPLES = {"header": "header.traceparent:*", "body": "body.data.total:>100"}


def _squeezed(parts: list[str]) -> tuple[str, ...]:
    """`a**b` is `a*b`: empty texts in between say nothing."""
    first, *between, last = parts
    return (first, *(part for part in between if part), last)
