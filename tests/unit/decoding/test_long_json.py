"""Long JSON that is read in slices has the value, or the error, that it has when it is read at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.decoding import long_json
from sidecar.decoding.long_json import read_long_json

read: Callable[[bytes], Any] = msgspec.json.Decoder().decode

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text('a,]["{}\\é')
)
values = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text('a,"[é'), inner)), max_leaves=40
)


def read_sliced(text: bytes, slice_bytes: int) -> Any:
    with patch.multiple(long_json, SLICE_BYTES=slice_bytes, MAX_WHOLE_VALUES=-1):
        return read_long_json(text, read)


@settings(deadline=None)
@given(value=values, slice_bytes=st.integers(0, 60), indent=st.sampled_from([None, 1]))
def test_the_value_is_the_same(value: Any, slice_bytes: int, indent: int | None) -> None:
    text = json.dumps(value, indent=indent).encode()
    assert repr(read_sliced(text, slice_bytes)) == repr(read(text))


@pytest.mark.slow
@settings(deadline=None, max_examples=400)
@given(
    value=values,
    slice_bytes=st.integers(0, 60),
    place=st.floats(0, 1),
    inserted=st.sampled_from([b",", b"[", b"]", b"{", b"}", b'"', b":", b"1", b" ", b"\\", b"\xff", b""]),
    removed=st.integers(0, 3),
)
def test_broken_text_is_refused_where_it_is_refused_when_read_at_once(
    value: Any, slice_bytes: int, place: float, inserted: bytes, removed: int
) -> None:
    text = json.dumps(value, ensure_ascii=False).encode()
    at = round(place * len(text))
    text = text[:at] + inserted + text[at + removed :]
    try:
        whole = read(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
            read_sliced(text, slice_bytes)
    else:
        assert repr(read_sliced(text, slice_bytes)) == repr(whole)


def test_an_error_names_the_byte_of_the_whole_text() -> None:
    text = b"[" + b"10, " * 200_000 + b"x]"
    with pytest.raises(msgspec.DecodeError, match=rf"\(byte {len(text) - 2}\)"):
        read_long_json(text, read)


@pytest.mark.parametrize(
    "text", [b'{"a": 1[2, 3]}', b"[1, 2]]", b"[1, 2", b"x [1, 2]", b"[1, 2] x", b"[1, 2,]", b'{"a"}']
)
def test_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        read_sliced(text, 0)


def test_depth_is_bounded() -> None:
    with pytest.raises(RecursionError):
        read_long_json(b"[" * 100_000 + b"]" * 100_000, read)
    assert read_long_json(b"[" * 800 + b"0," * 120_000 + b"0" + b"]" * 800, read)


def test_commas_within_text_are_no_values() -> None:
    assert read_long_json(b'["' + b"," * 2_000_000 + b'", 1]', read) == ["," * 2_000_000, 1]
