"""Tokenizer of a query: reads its text from left to right as characters, words and values."""

from __future__ import annotations

import re
from typing import NoReturn

from sidecar.domain.errors import QueryError
from sidecar.query.ast import Comparison, ExactText, RegexText, Value, Wildcard

MAX_CHARACTERS = 2_000
_COMPARISON = re.compile(r">=|<=|>|<")
_KEYWORD = re.compile(r"(OR|AND|NOT)(?=[\s()]|$)")


class Tokenizer:
    """A cursor over the text of a query. Raises QueryError for text that does not fit."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        if len(text) > MAX_CHARACTERS:
            self.fail(f"expected at most {MAX_CHARACTERS} characters, found {len(text)}", MAX_CHARACTERS)

    def peek(self) -> str:
        """Return the next character; empty at the end."""
        return self.text[self.at : self.at + 1]

    def skip_space(self) -> None:
        """Move to the next character that is not a space."""
        while self.peek().isspace():
            self.at += 1

    def match(self, pattern: re.Pattern[str]) -> str:
        """Consume the text that matches here; empty if nothing matches."""
        match = pattern.match(self.text, self.at)
        if match is None:
            return ""
        self.at = match.end()
        return match[0]

    def keyword(self) -> str | None:
        """Return the keyword at the cursor, without consuming it."""
        match = _KEYWORD.match(self.text, self.at)
        return match[1] if match else None

    def take_keyword(self, word: str) -> bool:
        """Consume this keyword and the space after it, if it is here."""
        if self.keyword() != word:
            return False
        self.at += len(word)
        self.skip_space()
        return True

    def describe_here(self) -> str:
        """Describe the text at the cursor for a message."""
        character = self.peek()
        if not character:
            return "the end of the query"
        if character.isprintable() and not character.isspace():
            return character
        return "a space" if character.isspace() else f"the character U+{ord(character):04X}"

    def fail(self, message: str, at: int | None = None) -> NoReturn:
        """Raise QueryError: what was expected, here or at another place."""
        raise QueryError(message, self.text, min(self.at if at is None else at, len(self.text)))

    # --- values

    def comparison(self) -> Comparison:
        """Consume a comparison such as `>`, if it is here."""
        match self.match(_COMPARISON):
            case ">" | ">=" | "<" | "<=" as comparison:
                return comparison
            case _:
                return ""

    def value(self) -> Value:
        """Consume a value and the space after it."""
        if self.peek() == '"':
            value: Value = ExactText(self.take_quoted())
        elif self.peek() == "/":
            value = self._regex()
        else:
            value = self._word()
        if self.at < len(self.text) and self.peek() not in ")" and not self.peek().isspace():
            self.fail(f"expected a space, found {self.describe_here()} (in quotes, it is searched for literally)")
        self.skip_space()
        return value

    def take_quoted(self) -> str:
        """Consume a quoted text."""
        opening = self.at
        parts: list[str] = []
        self.at += 1
        while self.peek() != '"':
            if self.peek() == "\\":
                self.at += 1
            if self.at >= len(self.text):
                self.fail('expected a " to end this text', opening)
            parts.append(self.peek())
            self.at += 1
        self.at += 1
        return "".join(parts)

    def _regex(self) -> Value:
        opening = self.at
        parts: list[str] = []
        self.at += 1
        while self.peek() != "/":
            if self.at >= len(self.text):
                self.fail(
                    "expected a / to end this regular expression (in quotes, / is searched for literally)", opening
                )
            if self.peek() == "\\":
                escaped = self.text[self.at + 1 : self.at + 2]
                parts.append("/" if escaped == "/" else f"\\{escaped}")
                self.at += 2
                continue
            parts.append(self.peek())
            self.at += 1
        self.at += 1
        ignore_case = self.peek() == "i"
        self.at += ignore_case
        return self._check_regex(RegexText("".join(parts), ignore_case), opening)

    def _check_regex(self, regex: RegexText, at: int) -> RegexText:
        from sidecar.query.regex import InvalidRegex, build_searcher  # only who asks for it pays for RE2

        try:
            build_searcher(regex.pattern, ignore_case=regex.ignore_case)
        except InvalidRegex as bad:
            self.fail(f"expected a regular expression (of RE2), found {bad}", at)
        return regex

    def _word(self) -> Value:
        start = self.at
        parts = [""]
        while (character := self.peek()) and not character.isspace() and character not in '()"':
            self.at += 1
            if character == "*":
                parts.append("")
                continue
            if character == "\\":
                character = self.peek()
                if not character:
                    self.fail("expected a character after this \\", self.at - 1)
                self.at += 1
            parts[-1] += character
        if self.at == start:
            self.fail(f"expected a value, found {self.describe_here()}")
        return ExactText(parts[0]) if len(parts) == 1 else Wildcard(_drop_empty_parts(parts))


def _drop_empty_parts(parts: list[str]) -> tuple[str, ...]:
    """`a**b` is `a*b`: empty texts in between say nothing."""
    first, *between, last = parts
    return (first, *(part for part in between if part), last)
