"""Events as real libraries wrote them: every known field of each, without a broker."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.domain.model import Event
from tests.support import foreign
from tests.support.decoding import court


def _field(event: Event, name: str) -> Any:
    match name:
        case "trace_id" | "span_id":
            value = getattr(event, name)
            return None if value is None else f"{value:0{32 if name == 'trace_id' else 16}x}"
        case "trace_origin":
            return event.trace_origin and str(event.trace_origin)
        case "schema_subject" | "schema_version" | "schema_guid":
            return event.schema and getattr(event.schema, name.removeprefix("schema_"))
        case "status":
            return "rejected" if event.rejection else "unchecked" if event.unchecked else "ok"
        case _:
            return getattr(event, name)


@pytest.mark.parametrize("name", foreign.files())
def test_every_field_of_an_event_is_right(name: str) -> None:
    wrong = []
    with court(**foreign.envelope_for(name)) as here:
        refs = {
            subject: here.register(subject, json.dumps(schema) if schema else "{}", "AVRO" if schema else "JSON")
            for subject, schema in foreign.SCHEMAS.items()
        }
        for line in foreign.load(name):
            if line.is_letter:
                continue
            subject = foreign.subject_of(line.record)
            record = foreign.with_ids(line.record, refs[subject]) if subject else line.record
            expected = dict(line.expected)
            if "schema_guid" in expected:
                expected["schema_guid"] = refs[subject or ""].guid
            decoded = here.one(record)
            assert decoded.record == record, "the record is shown and replayed as it is"
            event = decoded.event
            found = foreign.differences(expected, lambda field, event=event: _field(event, field))
            if found:
                wrong.append((str(record.position), found))
    assert not wrong
