"""Redaction of bodies, headers, ids, messages and searches."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from sidecar.domain.derived_ids import derive_trace_id, mask_id
from sidecar.domain.model import Event, Rejection
from sidecar.domain.position import Position
from sidecar.domain.redaction import HIDDEN, Redactor
from tests.support.api import order, serving

SECRET = "4111-1111-SECRET"


@pytest.mark.parametrize(
    ("pattern", "body", "shown"),
    [
        ("d.card.*", {"d": {"card": {"n": 1, "cvc": None}}}, {"d": {"card": {"n": HIDDEN, "cvc": HIDDEN}}}),
        ("data.card", {"data": {"card": {"number": 1}}}, {"data": {"card": HIDDEN}}),
        ("items.sku", {"items": [{"sku": 1, "q": 2}, {}]}, {"items": [{"sku": HIDDEN, "q": 2}, {}]}),
        ("items[*].sku", {"items": [{"sku": 1}]}, {"items": [{"sku": HIDDEN}]}),
        ("items.1.sku", {"items": [{"sku": 1}, {"sku": 2}]}, {"items": [{"sku": 1}, {"sku": HIDDEN}]}),
        ("items.*", {"items": [[1, 2]]}, {"items": [HIDDEN]}),
        ("*.pass*", {"b": {"pass1": 3, "u": 2}}, {"b": {"pass1": HIDDEN, "u": 2}}),
        # A value of another shape may contain the secret elsewhere.
        ("data.card.number", {"data": {"card": "4111"}}, {"data": {"card": HIDDEN}}),
        ("data.card.number", {"data": '{"card":{"number":"4111"}}'}, {"data": HIDDEN}),
        ("data.card", "text", HIDDEN),
        ("data.card", {"other": 1, "data": None}, {"other": 1, "data": None}),
    ],
)  # fmt: skip
def test_bodies(pattern: str, body: Any, shown: Any) -> None:
    assert Redactor([f"body:{pattern}"]).body(body) == shown


@pytest.mark.slow
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["a", "b", "card", "0"]), inner),
        max_leaves=30,
    )
)
def test_nothing_below_a_hidden_path_is_ever_shown(value: Any) -> None:
    shown = Redactor(["body:*.card", "body:a.*"]).body({"x": {"card": value}, "a": {"y": value}})
    assert shown == {"x": {"card": HIDDEN}, "a": {"y": HIDDEN}}


def test_deep_and_wide_bodies_are_cut_not_crashed_on() -> None:
    deep: Any = "x"
    for _ in range(5_000):
        deep = [deep]
    shown = Redactor(["body:*.*.*.secret"]).body(deep)
    for _ in range(150):
        shown = shown[0]
    assert shown == HIDDEN


def test_headers_compare_without_case_and_keep_their_order() -> None:
    headers = (("Authorization", b"x"), ("a", b"1"), ("AUTHORIZATION", None))
    shown = Redactor(["header:authorization"]).headers(headers)
    assert shown == (("Authorization", HIDDEN.encode()), ("a", b"1"), ("AUTHORIZATION", HIDDEN.encode()))
    flat = Redactor(["body:card"]).headers((("card", b"1"), ("a", b"2")), flat=True)
    assert flat == (("card", HIDDEN.encode()), ("a", b"2"))


def test_ids_that_may_come_from_a_hidden_place_are_hidden() -> None:
    places = {
        "aggregate_id": ["body:customer.email", "key"],
        "correlation_id": ["header:x-correlation-id"],
        "event_id": ["body:eventId"],
    }
    redactor = Redactor(["body:customer.*", "header:x-*"], places)
    event = Event(Position("kafka", "o", 0, 1), "k", 0, 0, event_id="e", aggregate_id=SECRET, correlation_id=SECRET)
    shown = redactor.event(event)
    assert (shown.event_id, shown.aggregate_id, shown.correlation_id, shown.key) == ("e", HIDDEN, HIDDEN, HIDDEN)


def test_a_shared_index_stores_no_hidden_field_and_ids_that_join_events_as_hashes() -> None:
    places = {"aggregate_id": ["body:card", "key"], "event_id": ["body:card"], "producer": ["header:x-by"]}
    redactor = Redactor(["body:card", "header:x-*"], places)
    fault = Rejection("schema.mismatch", f'card: expected int, found string "{SECRET}"', "card")
    event = Event(
        Position("kafka", "o", 0, 1), SECRET, 0, 0, event_id="e", aggregate_id=SECRET, producer=SECRET, rejection=fault
    )
    stored = redactor.stored_event(event)
    assert (stored.event_id, stored.aggregate_id, stored.key, stored.producer) == (mask_id("e"), None, None, None)
    assert derive_trace_id(mask_id("e")) == derive_trace_id("e")
    assert stored.rejection is not None
    assert SECRET not in stored.rejection.message
    assert Redactor(["body:other"], places).stored_event(replace(event, rejection=None)).aggregate_id == SECRET


@pytest.mark.parametrize("path", ["data.card.number", "data.card", "data", "data[2].card.number", None])
def test_messages_quote_nothing_hidden(path: str | None) -> None:
    redactor = Redactor(["body:data.card.*"])
    message = f'{path}: expected int, found string "{SECRET}" (orders-value v3)'
    assert SECRET not in redactor.rejection(Rejection("schema.mismatch", message, path)).message
    plain = Rejection("schema.mismatch", 'data.total: expected int, found string "x"', "data.total")
    assert redactor.rejection(plain) is plain


@pytest.mark.parametrize("code", ["schema.unknown_id", "schema.wrong_subject"])
def test_messages_about_schemas_keep_the_id_that_one_looks_for(code: str) -> None:
    rejection = Rejection(code, "schema id 77 is not registered (needed by orders)")
    assert Redactor(["body:data.card.*", "header:authorization"]).rejection(rejection) is rejection


async def test_nothing_that_leaves_reveals_it(tmp_path: Path) -> None:
    """The hidden texts are in no answer of any interface."""
    hide = ["body:data.card", "header:authorization", "body:data.total"]
    async with serving(tmp_path / "token", redact=hide) as sidecar, sidecar.http() as http:
        headers = (("Authorization", SECRET.encode()),)
        good = await sidecar.pass_on(order(1, data={"card": SECRET, "x": "y"}), headers=headers)
        bad = await sidecar.pass_on(order(2, data={"card": SECRET, "total": [SECRET]}), headers=headers)
        raw = await sidecar.pass_on(f'{{"card": "{SECRET}"'.encode(), headers=headers)
        assert (bad.event.rejection is not None, raw.event.rejection is not None) == (True, True)
        paths = ["/v1/events?full=true", "/v1/dead-letters", "/v1/scan?full=true", "/v1/flows", "/v1/flows/e-2"]
        paths += ["/v1/dead-letters/groups"]
        paths += [f"/v1/events/{quote(str(one.event.position), safe='')}" for one in (good, bad, raw)]
        letters = (await http.get("/v1/dead-letters")).json()["items"]
        for letter in letters:
            alike = (await http.get("/v1/dead-letters", params={"query": f"cause:{letter['cause']}"})).json()["items"]
            assert letter["id"] in [one["id"] for one in alike], "what is hidden still tells causes apart"
        paths += [f"/v1/dead-letters/{quote(letter['id'], safe='')}" for letter in letters]
        for path in paths:
            response = await http.get(path)
            assert response.status_code == 200, path
            assert SECRET not in response.text, path
            assert "4111-1111" not in response.text, path
        for query in (
            f"body.data.card:{SECRET}",
            "body.data.card:4*",
            "header.authorization:/SECRET/",
            SECRET,
            "body.data.total:>0",
        ):
            for path in ("/v1/events", "/v1/dead-letters", "/v1/dead-letters/groups"):
                found = (await http.get(path, params={"query": query})).json()
                assert found["items"] == [], query


@pytest.mark.parametrize("wrapper", ["payload", "before", "after", "payload.before", "payload.after"])
def test_patterns_apply_within_what_connect_and_debezium_write_around_an_event(wrapper: str) -> None:
    redactor = Redactor(["body:card.number"])
    body: Any = {"card": {"number": SECRET, "kind": "visa"}}
    for step in reversed(wrapper.split(".")):
        body = {step: body, "more": 1}
    shown = redactor.body(body)
    assert SECRET not in str(shown)
    assert "visa" in str(shown)
    path = f"{wrapper}.card.number"
    rejection = redactor.rejection(Rejection("schema.mismatch", f'{path}: expected int, found "{SECRET}"', path))
    assert SECRET not in rejection.message


def test_base64_of_a_hidden_part_is_hidden() -> None:
    body = {"specversion": "1.0", "data_base64": "eyJ4IjoxfQ==", "data": {"card": 1, "x": 1}}
    shown = Redactor(["body:data.card"]).body(body)
    assert shown == {"specversion": "1.0", "data_base64": HIDDEN, "data": {"card": HIDDEN, "x": 1}}
    assert Redactor(["body:other"]).body(body) == body


@pytest.mark.parametrize(
    "name",
    [
        "kafka_exception-message", "kafka_dlt-exception-stacktrace", "kafka_dlt-key-exception-message",
        "__connect.errors.exception.message", "__connect.errors.exception.stacktrace", "__streams.errors.message",
        "__dlq.errors.message", "dead-letter-reason", "dead-letter-cause", "x-exception-message", "exception-stack",
        "reason_poisoned", "__rule.exception", "NServiceBus.ExceptionInfo.Message", "MT-Fault-StackTrace",
        "NServiceBus.ExceptionInfo.StackTrace", "error", "Exception", "stack_trace", "traceback", "Error-Description",
        "tracecar.message", "DeadLetterReason", "x-first-death-reason", "error_msg_detail", "cause",
    ],
)  # fmt: skip
def test_words_about_failures_are_hidden_in_headers(name: str) -> None:
    headers = ((name, f"no card {SECRET}".encode()), ("traceparent", b"00-1"), ("x-b3-traceid", b"1"), ("a", b"b"))
    shown = dict(Redactor(["body:card"]).headers(headers))
    assert shown[name] == HIDDEN.encode()
    assert {key: value for key, value in shown.items() if key != name} == dict(headers[1:])
    assert Redactor(["body:card"], free_text=False).headers(headers) == headers
    assert Redactor([]).headers(headers) == headers


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kafka_dlt-exception-fqcn", b"java.lang.IllegalStateException"),
        ("kafka_dlt-exception-cause-fqcn", b"com.shop.NoSuchCard"),
        ("__connect.errors.exception.class.name", b"org.apache.kafka.connect.errors.DataException"),
        ("__connect.errors.topic", b"orders"),
        ("kafka_dlt-original-offset", b"\0\0\0\0\0\0\0\1"),
        ("traceparent", b"00-0af7651916cd43dd8448eb211c803160-b7ad6b7169203330-01"),
        ("message-id", b"m-1"),
        ("content-type", b"text/plain"),
    ],
)
def test_other_headers_stay(name: str, value: bytes) -> None:
    assert Redactor(["body:card"]).headers(((name, value),)) == ((name, value),)


def test_messages_wrapped_into_redis_entries_are_hidden() -> None:
    redactor = Redactor(["body:card"])
    faststream = (("__data__", SECRET.encode()), ("kind", b"x"))
    assert redactor.headers(faststream, flat=True) == (("__data__", HIDDEN.encode()), ("kind", b"x"))
    watermill = (("_watermill_message_uuid", b"u"), ("payload", SECRET.encode()), ("metadata", SECRET.encode()))
    assert SECRET not in str(redactor.headers(watermill, flat=True))
    plain = (("payload", b"p"), ("metadata", b"m"))
    assert redactor.headers(plain, flat=True) == plain
    assert SECRET not in str(redactor.headers((("payload", b'{"card":"%b"}' % SECRET.encode()),), flat=True))
    assert redactor.body({"payload": "[1]", "after": "2026", "x": "{}"}, flat=True) == {
        "payload": HIDDEN,
        "after": "2026",
        "x": "{}",
    }


@pytest.mark.parametrize(
    "key", ['{"card":"%s"}', '{"schema":{},"payload":{"card":"%s"}}', '[{"card":"%s"}]', '{"card":"%s']
)
def test_keys_that_hold_a_hidden_field_are_hidden(key: str) -> None:
    redactor = Redactor(["body:data.card"])
    event = Event(Position("kafka", "o", 0, 1), key % SECRET, 0, 0, aggregate_id=SECRET)
    assert SECRET not in str(redactor.event(event))
    assert SECRET not in str(redactor.stored_event(event))
    assert redactor.hides_key_bytes(b"\0\0\0\0\1" + (key % SECRET).encode())
    other = Event(Position("kafka", "o", 0, 1), '{"id":"4711"}', 0, 0, aggregate_id="4711")
    assert redactor.event(other) == other


def test_a_dead_letter_describes_its_event_without_hidden_values() -> None:
    places = {"aggregate_id": ["body:card"], "event_id": ["body:id"]}
    redactor = Redactor(["body:card", "body:id"], places)
    fault = Rejection("schema.mismatch", f'card: expected int, found string "{SECRET}"', "card")
    event = Event(Position("kafka", "o", 0, 1), "k", 0, 0, event_id=SECRET, aggregate_id=SECRET, rejection=fault)
    described = redactor.described_event(event)
    assert SECRET not in str(described)
    assert described.event_id == mask_id(SECRET)
    assert described.rejection is not None
    assert described.rejection.path == "card"
