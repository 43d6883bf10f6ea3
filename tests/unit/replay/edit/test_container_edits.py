"""Edits of Avro object container files: the edited records change, and every other byte stays."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import fastavro
import pytest

from sidecar.dead_letters.ledger_entries import PathChange
from sidecar.replay.models import BodyEdit, UnsendableLetter
from tests.unit.replay.edit.test_editor import Desk
from tests.unit.replay.edit.test_faithful_edits import ORDERS, VALUE, WIDE, desk, plain_schema

__all__ = ("desk",)
CODECS = ["null", "deflate", "snappy", "zstandard"]
SYNC = b"0123456789abcdef"


def container(declared: Any, records: list[Any], codec: str = "null", sync_interval: int = 16_000) -> bytes:
    out = BytesIO()
    schema = fastavro.parse_schema(plain_schema(declared))
    fastavro.writer(out, schema, records, codec=codec, sync_interval=sync_interval, sync_marker=SYNC)
    return out.getvalue()


def values_of(file: bytes | None) -> list[Any]:
    return list(fastavro.reader(BytesIO(file or b""), return_record_name=True))


@pytest.mark.parametrize("codec", CODECS)
async def test_the_only_record_is_edited_as_the_value_itself(desk: Desk, codec: str) -> None:
    edited = await desk.edit(container(WIDE, [VALUE], codec), BodyEdit(set={"n": 2, "items[1].sku": "x"}))
    items = [VALUE["items"][0], ("Add", {"sku": "x"}), VALUE["items"][2]]
    assert values_of(edited.value) == values_of(container(WIDE, [{**VALUE, "n": 2, "items": items}]))
    assert edited.changes == (PathChange("items[1].sku", "A-2", "x"), PathChange("n", 1, 2))


@pytest.mark.parametrize("codec", CODECS)
async def test_one_of_several_records_is_edited_and_other_blocks_keep_their_bytes(desk: Desk, codec: str) -> None:
    records = [{**VALUE, "n": number} for number in range(6)]
    file = container(WIDE, records, codec, sync_interval=1)
    edited = await desk.edit(file, BodyEdit(set={"[4].n": 40}))
    assert values_of(edited.value) == values_of(container(WIDE, [*records[:4], {**VALUE, "n": 40}, records[5]]))
    assert edited.value is not None
    before, after = file.split(SYNC), edited.value.split(SYNC)
    assert [index for index, (old, new) in enumerate(zip(before, after, strict=True)) if old != new] == [5]
    assert edited.changes == (PathChange("[4].n", 4, 40),)


async def test_a_record_of_a_union_keeps_its_branch(desk: Desk) -> None:
    file = container(ORDERS, [("shop.Cancelled", {"order": "4711", "n": 1})])
    edited = await desk.edit(file, BodyEdit(set={"n": 2}))
    assert values_of(edited.value) == [("shop.Cancelled", {"order": "4711", "n": 2})]


async def test_a_file_stays_a_file_on_a_stream_with_a_schema(desk: Desk) -> None:
    desk.registry.register("orders-value", json.dumps(WIDE))
    file = container(WIDE, [VALUE])
    edited = await desk.edit(file, BodyEdit(set={"n": 2}))
    assert values_of(edited.value) == values_of(container(WIDE, [{**VALUE, "n": 2}]))


async def test_a_body_that_does_not_match_its_schema_is_refused(desk: Desk) -> None:
    with pytest.raises(UnsendableLetter, match=r"n: expected int, found .* \(its own schema\)"):
        await desk.edit(container(WIDE, [VALUE]), BodyEdit(set={"n": "two"}))
    with pytest.raises(UnsendableLetter, match="there is no 7"):
        await desk.edit(container(WIDE, [VALUE, VALUE]), BodyEdit(set={"[7].n": 2}))


async def test_an_edit_without_changes_is_sent_unchanged(desk: Desk) -> None:
    file = container(WIDE, [VALUE, VALUE], "deflate")
    edited = await desk.edit(file, BodyEdit(set={"[0].n": 1}))
    assert (edited.value, edited.changes) == (file, ())
