"""An edit of JSON keeps the bytes of everything else."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.replay.edit.json_patch import remove_from_text, set_in_text
from sidecar.replay.edit.paths import Path, parse_edit_path, remove_value, set_value
from sidecar.replay.models import UnsendableLetter

NAMES = st.text(max_size=4) | st.sampled_from(["a", 'q"', "\\", "a:b", "é", "{", "]"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | NAMES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)
LAYOUTS = st.sampled_from([(None, None), (None, (",", ":")), (2, None), ("\t", (" ,", " : "))])


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    indent, separators = draw(LAYOUTS)
    body = draw(VALUES)
    return json.dumps(body, indent=indent, separators=separators, ensure_ascii=draw(st.booleans())).encode()


def places(body: Any) -> list[Path]:
    found: list[Path] = []
    for step, value in body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ():
        found += [(step,), *[(step, *rest) for rest in places(value)]]
    return found


def told(change: Any, *arguments: Any) -> Any:
    try:
        return change(*arguments)
    except UnsendableLetter as error:
        return str(error)


@given(texts(), VALUES, st.data())
def test_the_edited_text_equals_the_edited_body(text: bytes, value: Any, data: st.DataObject) -> None:
    body = msgspec.json.decode(text)
    path = data.draw(
        st.sampled_from([*places(body), ("new",), ("a", "new"), (0,), (7,)]) if body is not None else st.just(("new",))
    )
    written = msgspec.json.encode(value)
    expected = told(set_value, body, path, msgspec.json.decode(written))
    found = told(set_in_text, text, path, written)
    assert (msgspec.json.decode(found) if isinstance(found, bytes) else found) == expected
    expected, found = told(remove_value, body, path), told(remove_from_text, text, path)
    assert (msgspec.json.decode(found) if isinstance(found, bytes) else found) == expected
    assert body == msgspec.json.decode(text), "the body before stays as it was"


@pytest.mark.parametrize(
    ("text", "path", "after"),
    [
        (b'{"a": 1.50, "b": [1e2,  2]}', "b[1]", b'{"a": 1.50, "b": [1e2,  3]}'),
        (b'{"a": 1.50, "b": 1}', "c", b'{"a": 1.50, "b": 1, "c": 3}'),
        (b'{"a":1.50}', "c", b'{"a":1.50,"c":3}'),
        (b'{\n  "a": 118059162071741130342400\n}', "c", b'{\n  "a": 118059162071741130342400, "c": 3\n}'),
        (b'{\n  "a": 1,\n  "b": 2\n}', "c", b'{\n  "a": 1,\n  "b": 2,\n  "c": 3\n}'),
        (b"{ }", "c", b'{"c":3 }'),
        (b'{"a": 1, "a": 2}', "a", b'{"a": 1, "a": 3}'),
        (b'{"\\u0061": 1}', "a", b'{"\\u0061": 3}'),
        (b'[[{"a": "]}\\""}], 1]', "[0][0].a", b'[[{"a": 3}], 1]'),
    ],
)
def test_setting_leaves_the_rest_as_it_is_written(text: bytes, path: str, after: bytes) -> None:
    assert set_in_text(text, parse_edit_path(path), b"3") == after


@pytest.mark.parametrize(
    ("text", "path", "after"),
    [
        (b'{"a": 1.50, "b": 2}', "b", b'{"a": 1.50}'),
        (b'{"a": 1.50, "b": 2}', "a", b'{"b": 2}'),
        (b'{"a": 1, "b": 2,  "c": 3}', "b", b'{"a": 1,  "c": 3}'),
        (b'{"a": 1, "b": 2, "a": 3}', "a", b'{"b": 2}'),
        (b'{"a": 1 }', "a", b"{ }"),
        (b"[1, [2, 3.0]]", "[1][0]", b"[1, [3.0]]"),
    ],
)
def test_removing_leaves_the_rest_as_it_is_written(text: bytes, path: str, after: bytes) -> None:
    assert remove_from_text(text, parse_edit_path(path)) == after


def test_text_as_deep_as_its_reader_allows_can_be_changed() -> None:
    deep = b'{"a": 1, "b": ' + b"[" * 900 + b"]" * 900 + b"}"
    assert set_in_text(deep, ("a",), b"2") == deep.replace(b"1", b"2")
    assert set_value(msgspec.json.decode(deep), ("a",), 2)["a"] == 2
