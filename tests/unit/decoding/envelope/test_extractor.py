"""Places of the envelope fields of an event."""

from __future__ import annotations

import pytest

from sidecar.config import schema as config
from sidecar.decoding.envelope.extractor import (
    BUILT_IN_LOCATIONS,
    ENVELOPE_FIELDS,
    EnvelopeExtractor,
    EnvelopeSource,
    parse_location,
    value_at_path,
)
from sidecar.domain.model import Event
from sidecar.domain.position import Position
from tests.support.decoding import court, record

VALUES = {word: f"the-{word}" for word in ENVELOPE_FIELDS} | {"occurred_at": 1_767_225_600_000}
MICROS = {"occurred_at": 1_767_225_600_000_000}


def words_of(headers=(), body=None, key=b"the-key", **places):
    with court(**places) as it:
        return it.one(record({} if body is None else body, headers, key=key, stream="free")).event


def placed(place, value):
    """Build headers and a body with `value` at a place."""
    kind, _, name = place.partition(":")
    if kind == "header":
        return {name: str(value)}, {}
    first, _, second = name.partition(".")
    return {}, {first: {second: value} if second else value}


EVERY_PLACE = [(word, place) for word, places in BUILT_IN_LOCATIONS.items() for place in places if place != "key"]


@pytest.mark.parametrize(("word", "place"), EVERY_PLACE)
def test_every_built_in_place_gives_its_field(word, place):
    event = words_of(*placed(place, VALUES[word]))
    assert getattr(event, word) == MICROS.get(word, VALUES[word])


@pytest.mark.parametrize(("word", "place"), EVERY_PLACE)
def test_header_names_compare_without_case(word, place):
    headers, body = placed(place, VALUES[word])
    event = words_of({name.upper(): value for name, value in headers.items()}, body)
    assert getattr(event, word) == MICROS.get(word, VALUES[word])


@pytest.mark.parametrize("word", ENVELOPE_FIELDS)
def test_places_are_looked_at_in_the_contracts_order(word):
    places = [place for place in BUILT_IN_LOCATIONS[word] if place != "key"]
    for first, *later in (places[at:] for at in range(len(places))):
        headers, body = placed(first, VALUES[word])
        for place in later:
            more_headers, more_body = placed(place, "2020-01-01" if word == "occurred_at" else "later")
            headers, body = {**more_headers, **headers}, {**more_body, **body}
        assert getattr(words_of(headers, body), word) == MICROS.get(word, VALUES[word])


def test_the_contracts_places_to_the_letter():
    assert BUILT_IN_LOCATIONS["event_id"] == (
        "header:ce_id",
        "header:event-id",
        "header:id",
        "body:eventId",
        "body:event_id",
    )
    assert BUILT_IN_LOCATIONS["aggregate_id"][-1] == "key"
    assert BUILT_IN_LOCATIONS["causation_id"] == tuple(
        place.replace("correlation", "causation") for place in BUILT_IN_LOCATIONS["correlation_id"]
    )


def test_an_aggregate_without_a_place_is_the_key():
    assert words_of().aggregate_id == "the-key"
    assert words_of(body={"aggregateId": ""}).aggregate_id == "the-key"
    assert words_of(key=None).aggregate_id is None
    assert words_of(key=b"").aggregate_id is None
    assert words_of(key=b"x" * 5_000).aggregate_id is None  # longer than any id


@pytest.mark.parametrize("guess", ["id", "version", "type", "uuid"])
def test_the_entitys_own_fields_are_no_words(guess):
    event = words_of(body={guess: "7", "status": "open"})
    assert (event.event_id, event.version, event.type) == (None, None, None)


def test_null_and_empty_are_nothing_and_the_next_place_counts():
    event = words_of({"event-id": "", "ce_id": None}, {"eventId": None, "event_id": "found"})
    assert event.event_id == "found"


def test_numbers_become_text():
    event = words_of(body={"eventId": 17, "eventVersion": 3, "aggregateId": 4.5})
    assert (event.event_id, event.version, event.aggregate_id) == ("17", "3", "4.5")
    assert words_of(body={"eventVersion": 123456}).version == "123456"


@pytest.mark.parametrize("nonsense", [{"a": 1}, [1], True, "x" * 513])
def test_an_unusable_value_at_a_built_in_place_is_ignored(nonsense):
    event = words_of(body={"eventId": nonsense, "event_id": "found", "eventType": nonsense})
    assert (event.event_id, event.type, event.rejection) == ("found", None, None)


def test_configured_places_come_first():
    places = {"event_id": ["body:metadata.uid", "header:x-id"], "aggregate_id": ["key"], "type": ["body:kind"]}
    body = {"metadata": {"uid": "m-1"}, "eventId": "e-1", "aggregateId": "a-1", "kind": "Paid", "eventType": "Other"}
    event = words_of({"X-ID": "h-1", "ce_id": "c-1"}, body, **places)
    assert (event.event_id, event.aggregate_id, event.type) == ("m-1", "the-key", "Paid")
    body.pop("metadata")
    assert words_of({"X-ID": "h-1", "ce_id": "c-1"}, body, **places).event_id == "h-1"
    assert words_of({"ce_id": "c-1"}, body, **places).event_id == "c-1"


@pytest.mark.parametrize("path", ["body:items[1].sku", "body:items.1.sku"])
def test_a_path_goes_through_lists(path):
    assert words_of(body={"items": [{"sku": "a"}, {"sku": "b"}]}, event_id=[path]).event_id == "b"


def test_a_flat_map_may_have_the_whole_path_as_one_name():
    assert words_of(body={"metadata.uid": "flat"}, event_id=["body:metadata.uid"]).event_id == "flat"
    assert words_of(body={"metadata.correlationId": "flat"}).correlation_id == "flat"


@pytest.mark.parametrize(
    ("body", "steps"),
    [(None, ("a",)), ([], ("0",)), ([1], ("-1",)), ([1], ("9" * 30,)), ({"a": "text"}, ("a", "0")), (7, ("a", "b"))],
)
def test_a_path_without_a_value_gives_nothing(body, steps):
    assert value_at_path(body, steps) is None


@pytest.mark.parametrize("nonsense", [{"a": 1}, [1], True, "x" * 513, 10**60])
def test_an_unusable_value_at_a_configured_place_is_a_rejection_with_its_place(nonsense):
    event = words_of(body={"metadata": {"uid": nonsense}, "eventId": "e-1"}, event_id=["body:metadata.uid"])
    assert event.rejection.code == "envelope.invalid"
    assert event.rejection.path == "metadata.uid"
    assert event.rejection.message.startswith("event_id at body:metadata.uid: expected text")
    assert event.event_id is None


def test_an_absurd_configured_time_is_a_rejection_and_the_other_words_stay():
    event = words_of({"x-time": "in the year 9000"}, {"eventId": "e-1"}, occurred_at=["header:x-time"])
    assert (event.rejection.code, event.rejection.path, event.event_id) == ("envelope.invalid", "header:x-time", "e-1")


def test_a_required_word_that_is_nowhere_is_missing_with_the_places_looked_at():
    event = words_of(body={"eventId": "e-1"}, required=["event_id", "type"], type=["body:kind"])
    assert event.rejection.code == "envelope.missing"
    assert event.rejection.path == "type"
    for place in ("body:kind", "header:ce_type", "body:eventType"):
        assert place in event.rejection.message


def test_a_required_word_that_is_unusable_is_invalid():
    event = words_of(body={"timestamp": "soon"}, required=["occurred_at"])
    assert (event.rejection.code, event.rejection.path) == ("envelope.invalid", "timestamp")


def test_an_event_with_all_that_is_required_passes():
    assert words_of(body={"eventId": "1", "eventType": "T"}, required=["event_id", "type"]).rejection is None


def test_a_tombstone_needs_no_words():
    with court(required=["event_id"]) as it:
        assert it.one(record(None, stream="free")).event.rejection is None


@pytest.mark.parametrize("written", ["", "body:", "header:", "eventId", "value:x", "Key"])
def test_invalid_places_are_refused(written):
    with pytest.raises(ValueError, match="is not a location"):
        parse_location(written, configured=True)


def test_few_valued_words_are_kept_once():
    envelope = EnvelopeExtractor(config.EnvelopeConfig())
    events = [Event(Position("kafka", "s", 0, n), None, 0, 0) for n in range(2)]
    for event in events:
        body = {"eventType": "".join(["Order", "Created"]), "producer": b"shop".decode()}
        envelope.fill(event, envelope.headings(()), EnvelopeSource((), body, body, None))
    assert events[0].type is events[1].type
    assert events[0].producer is events[1].producer
