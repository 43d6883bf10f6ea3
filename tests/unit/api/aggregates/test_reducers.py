"""The built-in reducers: merge, JSON merge patch, and the after-image of change capture."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.api.services.aggregates.reducers import LocalReducer, apply_merge_patch, build_local_reducers, merge_values
from sidecar.domain.aggregate_fold import EMPTY_STATE, AggregateFold, ReducerEvent

REDUCERS = build_local_reducers(["body:uid", "header:x"])
NAMES = st.sampled_from(["a", "b", "c"])
VALUES = st.recursive(
    st.none() | st.integers(0, 3) | st.just("x"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=3)


async def states(name: str, *bodies: Any) -> list[Any]:
    result = []
    async with REDUCERS[name].start(EMPTY_STATE) as run:
        for number, body in enumerate(bodies):
            await run.apply([ReducerEvent(f"p-{number}", {"body": body, "headers": []})])
            result.append((await run.state()).value)
    return result


async def test_merge_uses_data_or_the_body_without_envelope_fields() -> None:
    assert await states(
        "merge",
        {"eventId": "e-1", "data": {"status": "placed", "total": 10, "card": {"a": 1}}, "note": "not of the data"},
        {"eventId": "e-2", "data": {"status": "paid", "card": {"b": None}}},
        {"eventId": "e-3", "uid": 7, "occurredAt": "2026-01-31T12:00:00Z", "total": 12},
    ) == [
        {"status": "placed", "total": 10, "card": {"a": 1}},
        {"status": "paid", "total": 10, "card": {"a": 1, "b": None}},
        {"status": "paid", "total": 12, "card": {"a": 1, "b": None}},
    ]


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [  # the examples of RFC 7396, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}), ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}), ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}), ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}), (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]), ({"a": "foo"}, None, None), ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}), ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)  # fmt: skip
def test_merge_patch_follows_its_rfc(target: Any, patch: Any, result: Any) -> None:
    assert apply_merge_patch(target, patch) == result


def change(op: str, before: Any, after: Any) -> dict[str, Any]:
    return {"op": op, "before": before, "after": after, "source": {"table": "orders"}, "ts_ms": 1}


async def test_change_capture_gives_the_row_after_the_change() -> None:
    bodies = (
        change("c", None, {"id": 1, "note": "long", "total": 5}),
        change("u", {"id": 1}, {"id": 1, "note": "__debezium_unavailable_value", "total": 6}),
        {"schema": {"type": "struct"}, "payload": change("u", None, {"id": 1, "total": 7})},
        change("m", None, None),
        change("d", {"id": 1}, None),
        {"id": 2, "total": 1, "__op": "c", "__table": "orders", "__deleted": "false"},
        {"id": 2, "__deleted": "true"},
    )
    expected = [
        {"id": 1, "note": "long", "total": 5}, {"id": 1, "note": "long", "total": 6}, {"id": 1, "total": 7},
        {"id": 1, "total": 7}, {}, {"id": 2, "total": 1}, {},
    ]  # fmt: skip
    assert await states("after-image", *bodies) == expected
    assert await states("auto", *bodies) == expected


@given(OBJECTS, st.lists(OBJECTS, max_size=4))
def test_reducers_change_none_of_their_arguments_and_share_what_they_do_not_touch(
    state: dict[str, Any], bodies: list[dict[str, Any]]
) -> None:
    text = repr((state, bodies))
    for body in bodies:
        merge_values(state, body)
        apply_merge_patch(state, body)
    assert repr((state, bodies)) == text
    merged = merge_values(state, {"new": 1})
    assert all(merged[name] is value for name, value in state.items())


@given(st.lists(OBJECTS, min_size=1, max_size=6), st.integers(0, 5))
def test_a_fold_from_a_snapshot_gives_the_same_state_and_origins(bodies: list[dict[str, Any]], cut: int) -> None:
    events = [ReducerEvent(f"p-{n}", {"body": {"data": body}, "headers": []}) for n, body in enumerate(bodies)]
    reducer = REDUCERS["merge"]
    assert isinstance(reducer, LocalReducer)
    whole = AggregateFold(reducer.reduce)
    steps = [whole.apply(event) for event in events]
    first = AggregateFold(reducer.reduce)
    for event in events[:cut]:
        first.apply(event)
    second = AggregateFold(reducer.reduce, first.state)
    assert [second.apply(event) for event in events[cut:]] == steps[cut:]
    assert second.state == whole.state
