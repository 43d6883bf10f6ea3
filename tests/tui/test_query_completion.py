"""The fields that the dashboard completes are those of the query language."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.query import parse
from sidecar.query.ast import RegexText, Term
from sidecar.query.completion import complete as language_complete
from sidecar.query.fields import FIELDS as LANGUAGE
from sidecar.query.fields import SPECIAL
from sidecar.query.parser import parse_expression
from sidecar.query.regex import build_searcher
from tui.query_completion import FIELDS, complete, term


def test_the_fields_and_their_values_are_the_languages() -> None:
    assert set(FIELDS) == set(LANGUAGE) | set(SPECIAL)
    for name, field in LANGUAGE.items():
        assert FIELDS[name][1] == field.values, name


@pytest.mark.parametrize("text", ["", "sta", "status:re", "type:Or", "-co", "(sta", "since:", "stream:orders st", '"a'])
def test_completion_offers_what_the_language_offers(text: str) -> None:
    seen = {"type": ["OrderPlaced", "Order"], "stream": ["orders"]}
    start, offered = complete(text, len(text), seen)
    language_start, language = language_complete(text, len(text), seen)
    assert start == language_start
    assert offered == language[: len(offered)]
    assert bool(offered) == bool(language)


@given(st.text(min_size=1, max_size=40).filter(str.isprintable))
def test_a_term_asks_for_exactly_its_value(value: str) -> None:
    expression = parse(term("key", value)).expression
    assert expression.value.text == value  # type: ignore[union-attr]  # anything else fails the test


def test_values_with_spaces_are_completed_in_quotes() -> None:
    assert complete("type:Or", 7, {"type": ["Order placed"]}) == (5, ['"Order placed"'])


@pytest.mark.parametrize(
    "value",
    ["\x1b[2J\x1b]52;c;eA==\x07 [bold]x[/]", "\u202egnp.exe\u2066", 'a/b\\c"d\x00', "\U0001f600\u200d" + "Z" * 3_000],
)
def test_control_characters_are_escaped_and_still_matched(value: str) -> None:
    query = term("type", value)
    assert query.isprintable()
    assert len(query) < 2_000
    parsed = parse_expression(query)
    assert isinstance(parsed, Term)
    assert isinstance(parsed.value, RegexText)
    assert build_searcher(parsed.value.pattern, ignore_case=False)(value)
    assert not build_searcher(parsed.value.pattern, ignore_case=False)("x" + value)
