"""The syntax of JSON paths, which everything uses that prints, parses or matches one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.domain.json_path import InvalidPath, JsonPath, PathFault, PathPattern, key_segment, print_steps
from sidecar.query import parse as parse_query
from sidecar.query.ast import Term

NAMES = st.text(max_size=12) | st.sampled_from(["größe", "4711", "a.b", 'a"b', "a[0]", "a]", "\\", "\x1b", "", "…"])
STEPS = st.lists(NAMES | st.integers(0, 10**9 - 1), min_size=1, max_size=6).map(tuple)


@given(STEPS)
def test_every_path_is_parsed_as_it_was_printed(steps: tuple[str | int, ...]) -> None:
    path = JsonPath(steps)
    assert JsonPath.parse(str(path)) == path
    assert str(path).isprintable()


@given(STEPS)
def test_a_query_asks_for_the_same_path(steps: tuple[str | int, ...]) -> None:
    query = parse_query(f"body{print_steps(steps, inner=True)}:x")
    assert isinstance(query.expression, Term)
    assert query.expression.path == steps
    assert parse_query(str(query)).expression == query.expression


@given(STEPS)
def test_the_path_of_a_rejection_is_covered_by_the_pattern_that_names_it(steps: tuple[str | int, ...]) -> None:
    fault = PathFault("schema.mismatch", "expected int")
    for step in reversed(steps):
        fault.within(f"[{step}]" if isinstance(step, int) else key_segment(step))
    assert fault.path is not None
    pattern = PathPattern.parse(print_steps(steps))
    assert pattern.covers(JsonPath.parse(fault.path))
    assert pattern.is_related(JsonPath.parse(fault.path))


@pytest.mark.parametrize(
    ("pattern", "path", "covered", "related"),
    [
        ("limits.größe", 'limits["größe"]', True, True),
        ("limits.größe", 'limits["gro\u0308ße"].x', True, True),
        ("limits.4711", 'limits["4711"]', True, True),
        ("limits.4711", "limits[4711]", True, True),
        ('limits["a.b"]', 'limits["a.b"].x[2]', True, True),
        ('limits["a[1]"]', 'limits["a[1]"]', True, True),
        ("data.card.*", "data.card", False, True),
        ("data.card.*", "data[3].card[2].number", True, True),
        ("data.card.number", 'data.card["shop.Card"].number', True, True),
        ("data.card", "data.total", False, False),
        ("items[*].sku", "items[2].sku", True, True),
        ("items.1.sku", "items[2].sku", False, False),
        ("x." + "y" * 100, 'x["' + "y" * 79 + '…"].z', True, True),
        ("x.y", "…" + "z" * 400, True, True),
    ],
)
def test_patterns(pattern: str, path: str, covered: bool, related: bool) -> None:
    parsed = PathPattern.parse(pattern)
    assert (parsed.covers(JsonPath.parse(path)), parsed.is_related(JsonPath.parse(path))) == (covered, related)


@pytest.mark.parametrize("text", ["", ".a", "a.", "a[", "a[x]", "a[1", 'a["x]', "a..b", "x" * 2_000, 'a["\\x"]'])
def test_other_texts_are_refused_with_the_place(text: str) -> None:
    with pytest.raises(InvalidPath, match="expected a path such as"):
        JsonPath.parse(text)


def test_ancestors_and_relatives() -> None:
    card, number, total = map(JsonPath.parse, ("data.card", "data.card.number", "data.total"))
    assert (card.contains(number), number.contains(card), card.is_related(number)) == (True, False, True)
    assert not number.is_related(total)
