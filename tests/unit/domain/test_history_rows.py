"""Rows of the history have every field of an event; values that no file can store are bounded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from sidecar.domain.event_bounds import MAX_TEXT_CHARS
from sidecar.domain.history_rows import (
    COLUMN_NAMES,
    HistoryRow,
    decode_line,
    encode_row,
    quote_stream,
    restore_row,
    unquote_stream,
)
from sidecar.domain.model import Event
from sidecar.domain.position import Position

EVENT = Event(Position("kafka", "orders", 1, 4711), "k", 1_790_000_000_000, 1_790_000_000_000_077)


@given(st.binary(max_size=20))
def test_any_stream_name_survives_a_round_trip(name: bytes) -> None:
    stream = name.decode("utf-8", "surrogateescape")
    quoted = quote_stream(stream)
    quoted.encode()
    assert unquote_stream(quoted) == stream


@given(st.integers(0, (1 << 128) - 1))
def test_any_offset_survives_a_round_trip(offset: int) -> None:
    row = HistoryRow(structs.replace(EVENT, position=Position("redis", "orders", 0, offset)))
    assert decode_line(encode_row(row)) == row


@given(st.text(), st.integers())
def test_a_line_is_one_line_for_any_event(text: str, number: int) -> None:
    wild = structs.replace(
        EVENT, event_id=text, key=f"{text}\ud800", occurred_at=number, trace_id=number, digest=number
    )
    line = encode_row(HistoryRow(wild, None, b"1"))
    assert b"\n" not in line
    assert decode_line(line).event.position == EVENT.position


def test_long_texts_are_cut_and_bodies_are_not() -> None:
    wild = HistoryRow(structs.replace(EVENT, event_id="e" * 9_000), None, b'"' + b"b" * 9_000 + b'"')
    restored = decode_line(encode_row(wild))
    assert restored.body == wild.body
    assert restored.event.event_id is not None
    assert len(restored.event.event_id) <= MAX_TEXT_CHARS


def test_a_file_without_the_newest_columns_can_be_read() -> None:
    values = dict.fromkeys(COLUMN_NAMES)
    values |= {"system": "kafka", "stream": "orders", "partition": 1, "record_offset": 4711, "key": "k"}
    values |= {"appended_at": EVENT.appended_at, "observed_at": EVENT.observed_at}
    assert restore_row([values[name] for name in COLUMN_NAMES]) == HistoryRow(EVENT)


@pytest.mark.parametrize("name", COLUMN_NAMES)
def test_every_column_is_in_the_docs(name: str) -> None:
    page = (Path(__file__).parents[3] / "docs" / "history.md").read_text()
    assert re.search(rf"^\|.*`{name}`.*\| (text|boolean|timestamp|32-bit|64-bit)", page, re.MULTILINE), name
