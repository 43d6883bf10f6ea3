"""Edits of bodies that are wrapped: in a framework's message, in base64, in fields of an entry that repeat a name."""

from __future__ import annotations

import json
from base64 import b64encode

import msgspec
import pytest

from sidecar.dead_letters.ledger_entries import PathChange
from sidecar.domain.model import Headers
from sidecar.replay.models import BodyEdit, UnsendableLetter
from tests.unit.replay.edit.test_editor import Desk, desk

__all__ = ("desk",)
BODY = b'{"eventId": "e-1", "qty": 1.50}'
EDITED = b'{"eventId": "e-1", "qty": 2}'


def faststream(body: bytes) -> bytes:
    headers = (1).to_bytes(2, "big") + b"\x00\x06header" + b"\x00\x02ab"
    start = 18
    head = b"\x89BIN\r\n\x1a\n" + b"\x00\x01" + start.to_bytes(4, "big") + (start + len(headers)).to_bytes(4, "big")
    return head + headers + body


def wrapped(body: bytes, form: str) -> Headers:
    match form:
        case "faststream":
            return (("a", b"1"), ("__data__", faststream(body)), ("z", b"2"))
        case "faststream as json text":
            return (("__data__", b'{"headers": {"h":"1"} , "data": ' + msgspec.json.encode(body.decode()) + b"}"),)
        case "faststream as json":
            return (("__data__", b'{"data": ' + body + b', "headers": {"h":"1"}}'),)
    metadata = msgspec.msgpack.encode({"name": "Placed"})
    return (("_watermill_message_uuid", b"u-1"), ("metadata", metadata), ("payload", body))


@pytest.mark.parametrize("form", ["faststream", "faststream as json text", "faststream as json", "watermill"])
async def test_a_message_is_edited_within_its_wrapping(desk: Desk, form: str) -> None:
    edited = await desk.edit(None, BodyEdit(set={"qty": 2}), wrapped(BODY, form), system="redis")
    assert (edited.value, edited.headers) == (None, wrapped(EDITED, form))
    assert edited.changes == (PathChange("qty", 1.5, 2),)


async def test_data_in_base64_is_not_edited_by_names_that_are_not_in_the_text(desk: Desk) -> None:
    event = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data_base64": b64encode(BODY).decode()}
    value = json.dumps(event).encode()
    (shown,) = await desk.payloads.open([desk.record(value)])
    assert shown.body["data"] == {"eventId": "e-1", "qty": 1.5}
    with pytest.raises(UnsendableLetter, match="data_base64"):
        await desk.edit(value, BodyEdit(set={"data.qty": 2}))
    for edit in (BodyEdit(set={"data": {}}), BodyEdit(body={**shown.body, "data": {"eventId": "e-1", "qty": 2}})):
        with pytest.raises(UnsendableLetter, match="either data or data_base64"):
            await desk.edit(value, edit)
    other = b64encode(EDITED).decode()
    edited = await desk.edit(value, BodyEdit(set={"data_base64": other}))
    assert edited.value == value.replace(event["data_base64"].encode(), other.encode())


async def test_the_effective_one_of_repeated_fields_is_edited(desk: Desk) -> None:
    fields = (("a", b"1"), ("b", b"x"), ("a", b"2"), ("\udcff", b"raw"), ("\\xff", b"text"))
    edited = await desk.edit(None, BodyEdit(set={"a": 3}), fields, system="redis")
    assert edited.headers == (("a", b"1"), ("b", b"x"), ("a", b"3"), *fields[3:])
    removed = await desk.edit(None, BodyEdit(remove=("a",)), fields, system="redis")
    assert removed.headers == (fields[1], *fields[3:])
