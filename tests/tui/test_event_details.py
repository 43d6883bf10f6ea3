"""Details of an event as lines: the failing field, folding, bytes, and large values."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from sidecar.api import models
from tests.support.dashboard_data import BODY, HOSTILE, WHY, event, letter
from tui.text.body_lines import as_text, body_facts
from tui.text.detail_line import DetailLine, FoldState
from tui.text.event_details import event_facts, letter_details
from tui.text.sanitize import clean
from tui.theme import CONTRAST, DARK, palette
from tui.widgets.detail_list import draw


def lines(body: Any, why: models.RejectionModel | None = WHY, folds: FoldState | None = None) -> list[DetailLine]:
    return body_facts(body, None, why, folds or FoldState(), 60)


def marked(facts: list[DetailLine]) -> list[tuple[str, str]]:
    return [(fact.label, fact.value) for fact in facts if fact.marked]


def at_path(path: str) -> models.RejectionModel:
    return msgspec.structs.replace(WHY, path=path)


def test_the_errors_path_is_marked_in_the_body() -> None:
    assert marked(lines(BODY)) == [("qty", '"two"')]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("items", [("items", "[2]")]),
        ("items[0]", [("[0]", "{2}")]),
        ("items[1].color", [("color", "missing")]),
        ("total", [("total", "missing")]),
        ("a.b[3].c", [("a.b[3].c", "missing")]),
    ],
)
def test_also_where_it_is_a_container_or_not_there(path: str, expected: list[tuple[str, str]]) -> None:
    assert marked(lines(BODY, at_path(path))) == expected


def test_a_folded_container_is_marked_if_it_contains_the_failure() -> None:
    folds = FoldState()
    folds.put("body:items", False)
    assert marked(lines(BODY, folds=folds)) == [("items", "[2]")]


def test_a_path_into_what_is_folded_by_itself_is_opened() -> None:
    body = {"rows": [{"n": n} for n in range(500)]}
    assert marked(lines(body, at_path("rows[400].n"))) == [("n", "400")]
    assert len(lines(body, None)) == 2  # five hundred rows start folded


def test_bytes_are_a_hex_dump() -> None:
    facts = lines({"base64": "AP9oaQ=="}, None)
    assert facts[1].value.startswith("00 ff 68 69")
    assert facts[1].value.endswith("··hi")


def test_a_dictionary_that_only_looks_like_bytes_is_itself() -> None:
    assert lines({"base64": "no!"}, None)[1].label == "base64"


def test_an_absent_body_is_stated() -> None:
    assert "none" in [fact.value for fact in lines(None, None)]
    assert lines(UNSET, None) == []
    note = body_facts(None, "retention has taken it", None, FoldState(), 60)
    assert "retention has taken it" in [fact.value for fact in note]


def test_a_large_body_is_bounded() -> None:
    body = {f"k{n}": {"v": [n] * 50} for n in range(5_000)}
    folds = FoldState()
    for fact in lines(body, None):
        folds.put(fact.key, True)
    assert len(lines(body, None, folds)) <= 60_002


def test_consumption_is_shown_by_group() -> None:
    stop = models.GroupStopModel(position="kafka://a/0/1", since=None, reason="it does not move")
    delivery = [
        models.DeliveryModel(group="a", passed=True, passed_at="2026-11-24T10:39:01Z"),
        models.DeliveryModel(group="b", passed=False, behind=12),
        models.DeliveryModel(group="c", passed=None),
        models.DeliveryModel(group="d", passed=False, stopped=stop),
    ]
    one = msgspec.structs.replace(event(1, "orders", "A", 0), delivery=delivery)
    said = {fact.label: fact.value for fact in event_facts(one, FoldState(), 60) if fact.key.startswith("readers.")}
    assert said["a"] == "✓ consumed it by 10:39:01.000"
    assert said["b"] == "… not yet, 12 behind"
    assert said["c"] == "? unknown"
    assert said["d"] == "✗ stopped at this event: it does not move (inferred)"


DEEDS = [
    models.LedgerActionModel(
        act="discarded", at="2026-05-03T10:00:00Z", by="ann", address=None, why="test data " * 30, replay=None, to=None,
        group=None, attempt=None, edit=[],
    ),
    models.LedgerActionModel(
        act="replayed", at="2026-05-03T11:00:00Z", by="bob", address=None, why=None, replay="r-1", to="shipping",
        group="warehouse", attempt=2,
        edit=[models.ChangeModel(path="items[1].qty", before="two", after=2, what="changed")],
    ),
]  # fmt: skip


def test_a_letter_shows_its_history_and_the_stack_trace_of_its_consumer() -> None:
    one = letter(
        1, history=DEEDS, stacktrace="java.lang.X: no\n\tat a.B.c(B.java:1)", returned_as="g@kafka://orders/0/9"
    )
    said = [(fact.label, fact.value) for fact in letter_details(one, FoldState(), 100)]
    assert ("10:00:00.000", "discarded by ann") in said
    assert any(label == "because" and value.startswith("test data") for label, value in said)
    assert ("11:00:00.000", "replayed by bob to shipping, for warehouse alone, attempt 2") in said
    assert ("changed", 'items[1].qty: "two" → 2') in said
    assert ("", "at a.B.c(B.java:1)") in said
    assert ("returned as", "g@kafka://orders/0/9") in said


def test_keys_of_lines_are_unique() -> None:
    one = msgspec.structs.replace(event(1, "orders", "A", 0), body=BODY, headers=[("a", "b"), ("a", "b")])
    for facts in (
        event_facts(one, FoldState(), 60),
        letter_details(letter(history=DEEDS, stacktrace="a\nb"), FoldState(), 60),
    ):
        assert len({fact.key for fact in facts}) == len(facts)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text() | st.just(HOSTILE),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.just(HOSTILE), inner, max_size=4),
)


@given(JSON, st.integers(20, 120))
def test_any_body_is_drawn_as_printable_text_of_one_line(body: Any, width: int) -> None:
    for theme in (DARK, CONTRAST):
        for fact in body_facts(body, HOSTILE, at_path(HOSTILE), FoldState(), width):
            text = draw(fact, width, palette(theme))
            assert text.plain.isprintable()


@given(st.text())
def test_sanitizing_keeps_visible_characters_only(text: str) -> None:
    assert clean(text).isprintable()
    if text.isprintable():
        assert clean(text) == text


def test_a_copied_value_is_the_value() -> None:
    assert json.loads(as_text(BODY)) == BODY
    assert as_text(HOSTILE) == HOSTILE
