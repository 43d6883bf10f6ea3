"""Differences between JSON values, and the origins of their parts."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.domain.json_diff import flatten_origins, is_same_json, list_differences, trace_origins
from sidecar.domain.json_path import JsonPath
from sidecar.domain.json_safe import parse_float

NAMES = st.sampled_from(["a", "b", "two words", "x.y", "ünï"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([1.0, 0.5, "", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=4)


def get(value: Any, path: str) -> Any:
    for step in JsonPath.parse(path).steps if path else ():
        value = value[step]
    return value


def apply(value: Any, path: str, what: str, after: Any) -> Any:
    """Apply one change to a copy of a value."""
    if not path:
        return after
    copied = json.loads(json.dumps(value))
    *way, last = JsonPath.parse(path).steps
    inner = copied
    for step in way:
        inner = inner[step]
    if what == "removed":
        del inner[last]
    else:
        inner[last] = after
    return copied


@given(VALUES, VALUES)
def test_the_changes_turn_the_one_into_the_other_and_equal_values_have_none(before: Any, after: Any) -> None:
    changes = list(list_differences(before, after))
    turned = before
    for change in changes:
        turned = apply(turned, change.path, change.what, change.after)
    assert is_same_json(turned, after)
    assert (not changes) == is_same_json(before, after)
    assert is_same_json(before, after) == (json.dumps(before, sort_keys=True) == json.dumps(after, sort_keys=True))


@pytest.mark.parametrize(
    ("before", "after"),
    [("1", "true"), ("[1]", "[true]"), ('{"a": 1}', '{"a": 1.0}'), ("[0.1]", "[0.10000000000000000001]")],
)
def test_values_that_are_written_in_another_way_differ_at_any_depth(before: str, after: str) -> None:
    old, new = (msgspec.json.Decoder(float_hook=parse_float).decode(text) for text in (before, after))
    assert [change.what for change in list_differences(old, new)] == ["changed"]
    assert list(list_differences(new, msgspec.json.Decoder(float_hook=parse_float).decode(after))) == []


@given(st.lists(OBJECTS, min_size=1, max_size=5))
def test_every_part_originates_from_the_last_event_that_changed_it(states: list[dict[str, Any]]) -> None:
    value: Any = {}
    origins: Any = {}
    for number, state in enumerate(states):
        copied = json.loads(json.dumps(value))  # shared or equal parts: no difference
        assert trace_origins(copied, state, origins, str(number)) == trace_origins(value, state, origins, str(number))
        origins = trace_origins(value, state, origins, str(number))
        value = state
    for path, origin in flatten_origins(origins):
        part = get(value, path)
        number = int(origin)
        before = states[number - 1] if number else {}
        for later in states[number + 1 :]:
            assert is_same_json(get(later, path), part)
        assert is_same_json(get(states[number], path), part)
        try:
            known = get(before, path)
        except (KeyError, IndexError, TypeError):
            continue
        assert not is_same_json(known, part)
