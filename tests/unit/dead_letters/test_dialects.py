"""Dead letters as other frameworks write them: the bytes of their headers, made by hand after their sources."""

from __future__ import annotations

from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.schema import Config, DeadLettersConfig, SourcesConfig
from sidecar.dead_letters.dialects import DIALECTS, foreign_writers, read, tracecar
from sidecar.dead_letters.discovery import MAX_SUGGESTIONS, suggest_streams
from sidecar.dead_letters.writer import DeadLetterWriter, shrink_dead_letter
from sidecar.domain.model import DeadLetter, Decoded, Event, Headers, Outgoing, Record, Rejection
from sidecar.domain.position import Position
from sidecar.domain.stream_names import StreamNames

NAMING = Config(service="shop", sources=SourcesConfig()).stream_names("tracecar.shop")
NOW = 1_767_225_600_000
THEN = 1_700_000_000_123
OWN: Headers = (("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), ("note", None))
ALL = ("spring", "connect", "streams", "share-group")


def landed(
    headers: Headers, stream: str = "orders-dlt", *, key: bytes | None = b"o-1", value: bytes | None = b"{}"
) -> Record:
    return Record(Position("kafka", stream, 1, 5), key, value, headers, NOW)


def letter(headers: Headers, stream: str = "orders-dlt") -> DeadLetter:
    return read(landed(headers, stream), NAMING)


def facts(found: DeadLetter) -> tuple[object, ...]:
    return (
        found.dialect, found.code, found.stream, str(found.origin), found.origin_timestamp, found.group, found.attempts,
        found.failed_at, found.message,
    )  # fmt: skip


def spring(topic: bytes = b"orders", partition: int = 3, offset: int = 4711, timestamp: int = THEN) -> Headers:
    """What `DeadLetterPublishingRecoverer` adds."""
    return (
        ("kafka_dlt-original-topic", topic),
        ("kafka_dlt-original-partition", pack(">i", partition)),
        ("kafka_dlt-original-offset", pack(">q", offset)),
        ("kafka_dlt-original-timestamp", pack(">q", timestamp)),
        ("kafka_dlt-original-timestamp-type", b"CreateTime"),
        ("kafka_dlt-original-consumer-group", b"billing"),
        ("kafka_dlt-exception-fqcn", b"org.springframework.kafka.listener.ListenerExecutionFailedException"),
        ("kafka_dlt-exception-cause-fqcn", b"com.acme.OutOfStock"),
        ("kafka_dlt-exception-message", b"Listener failed; no stock of sku 17"),
        ("kafka_dlt-exception-stacktrace", b"org.springframework.kafka...\n\tat com.acme.Billing"),
    )


RETRY: Headers = (
    ("retry_topic-original-timestamp", THEN.to_bytes(6, "big")),
    ("retry_topic-attempts", pack(">i", 4)),
    ("retry_topic-backoff-timestamp", NOW.to_bytes(6, "big")),
    ("kafka_original-topic", b"orders"),
    ("kafka_original-partition", pack(">i", 3)),
    ("kafka_original-offset", pack(">q", 4711)),
    ("kafka_original-timestamp", pack(">q", THEN)),
    ("kafka_original-timestamp-type", b"CreateTime"),
    ("kafka_dlt-original-consumer-group", b"billing"),
    ("kafka_exception-fqcn", b"org.springframework.kafka.listener.ListenerExecutionFailedException"),
    ("kafka_exception-cause-fqcn", b"com.acme.OutOfStock"),
    ("kafka_exception-message", b"Listener failed; no stock of sku 17"),
    ("kafka_exception-stacktrace", b"..."),
)
CONNECT: Headers = (
    ("__connect.errors.topic", b"orders"),
    ("__connect.errors.partition", b"3"),
    ("__connect.errors.offset", b"4711"),
    ("__connect.errors.connector.name", b"warehouse-sink"),
    ("__connect.errors.task.id", b"0"),
    ("__connect.errors.stage", b"VALUE_CONVERTER"),
    ("__connect.errors.class.name", b"io.confluent.connect.avro.AvroConverter"),
    ("__connect.errors.exception.class.name", b"org.apache.kafka.connect.errors.DataException"),
    ("__connect.errors.exception.message", b"Failed to deserialize data for topic orders"),
    ("__connect.errors.exception.stacktrace", b"org.apache.kafka.connect.errors.DataException: ...\n"),
)
STREAMS: Headers = (
    ("__streams.errors.exception", b"java.lang.IllegalStateException"),
    ("__streams.errors.message", b"no price for 17"),
    ("__streams.errors.stacktrace", b"java.lang.IllegalStateException: ..."),
    ("__streams.errors.topic", b"orders"),
    ("__streams.errors.partition", b"3"),
    ("__streams.errors.offset", b"4711"),
)
SHARE: Headers = (
    ("__dlq.errors.topic", b"orders"),
    ("__dlq.errors.partition", b"3"),
    ("__dlq.errors.offset", b"4711"),
    ("__dlq.errors.group", b"billing"),
    ("__dlq.errors.delivery.count", b"5"),
    ("__dlq.errors.message", b"Offset delivery count exceeded the threshold."),
)
SMALLRYE: Headers = (
    ("dead-letter-exception-class-name", b"java.lang.RuntimeException"),
    ("dead-letter-reason", b"no stock of sku 17"),
    ("dead-letter-cause-class-name", b"com.acme.OutOfStock"),
    ("dead-letter-cause", b"sku 17"),
    ("dead-letter-topic", b"orders"),
    ("dead-letter-partition", b"3"),
    ("dead-letter-offset", b"4711"),
)
CLOUD: Headers = (
    ("x-original-topic", b"orders"),
    ("x-original-partition", pack(">i", 3)),
    ("x-original-offset", pack(">q", 4711)),
    ("x-original-timestamp", pack(">q", THEN)),
    ("x-original-timestamp-type", b"CreateTime"),
    ("x-exception-fqcn", b"org.springframework.messaging.MessageHandlingException"),
    ("x-exception-message", b"error occurred in message handler; no stock"),
    ("x-exception-stacktrace", b"..."),
)
KARAFKA: Headers = (
    ("source_topic", b"orders"),
    ("source_partition", b"3"),
    ("source_offset", b"4711"),
    ("source_consumer_group", b"shop_billing"),
    ("source_attempts", b"3"),
    ("source_trace_id", b"b7ad6b71"),
)
WOLVERINE: Headers = (
    ("exception-type", b"System.InvalidOperationException"),
    ("exception-message", b"no stock of sku 17"),
    ("exception-stack", b"   at Acme.Billing.Handle()"),
    ("failed-at", str(NOW - 7).encode()),
    ("original-destination", b"kafka://topic/orders"),
    ("original-partition", b"3"),
    ("original-offset", b"4711"),
)
AT = "kafka://orders/3/4711"
STOCK = "com.acme.OutOfStock: Listener failed; no stock of sku 17"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (spring(), ("spring", "reported.error", "orders", AT, THEN, "billing", 1, NOW * 1000, STOCK)),
        (RETRY, ("spring-retry", "reported.error", "orders", AT, THEN, "billing", 4, NOW * 1000, STOCK)),
        (
            CONNECT,
            (
                "connect", "reported.error", "orders", AT, NOW, "connect-warehouse-sink", 1, None,
                "org.apache.kafka.connect.errors.DataException: Failed to deserialize data for topic orders "
                "(at VALUE_CONVERTER)",
            ),
        ),
        (
            STREAMS,
            (
                "streams", "reported.error", "orders", AT, NOW, None, 1, None,
                "java.lang.IllegalStateException: no price for 17",
            ),
        ),
        (
            SHARE,
            (
                "share-group", "delivery.exhausted", "orders", AT, None, "billing", 5, NOW * 1000,
                "Offset delivery count exceeded the threshold.",
            ),
        ),
        (
            SMALLRYE,
            (
                "smallrye", "reported.error", "orders", AT, None, None, 1, NOW * 1000,
                "com.acme.OutOfStock: no stock of sku 17",
            ),
        ),
        (
            CLOUD,
            (
                "spring-cloud-stream", "reported.error", "orders", AT, THEN, None, 1, NOW * 1000,
                "org.springframework.messaging.MessageHandlingException: error occurred in message handler; no stock",
            ),
        ),
        (
            KARAFKA,
            (
                "karafka", "reported.error", "orders", AT, None, "shop_billing", 3, NOW * 1000,
                "Karafka does not tell the error",
            ),
        ),
        (
            WOLVERINE,
            (
                "wolverine", "reported.error", "orders", AT, None, None, 1, (NOW - 7) * 1000,
                "System.InvalidOperationException: no stock of sku 17",
            ),
        ),
    ],
    ids=lambda value: value[0] if isinstance(value[0], str) else "",
)  # fmt: skip
def test_each_framework_is_understood(headers: Headers, expected: tuple[object, ...]) -> None:
    found = letter(OWN[:1] + headers + OWN[1:])
    assert facts(found) == expected
    assert found.id == "@kafka://orders-dlt/1/5"
    assert found.appended_at == NOW
    assert found.record is not None
    assert found.record.headers == OWN, "the record is given back without the framework's headers"
    assert (found.record.key, found.record.value, found.record.position) == (b"o-1", b"{}", found.origin)


def test_on_redis_the_body_keeps_its_place_among_the_records_own_fields() -> None:
    fields = (*WOLVERINE[:2], ("a", b"1"), *WOLVERINE[2:], ("b", b"2"))
    found = read(Record(Position("redis", "orders-dlt", 0, 5), None, b"{}", fields, NOW, value_at=4), NAMING)
    assert found.record is not None
    assert (found.record.headers, found.record.value_at) == ((("a", b"1"), ("b", b"2")), 1)


def test_the_table_has_every_dialect_once() -> None:
    names = [dialect.name for dialect in DIALECTS]
    assert names[0] == "tracecar"
    assert names[-1] == "unknown"
    assert len(names) == len(set(names)) == 11
    marks = [mark for dialect in DIALECTS for mark in dialect.marks]
    assert len(marks) == len(set(marks)), "no mark is of two dialects"
    assert {dialect.name for dialect in DIALECTS if dialect.written} == {"tracecar", *foreign_writers.PREFIXES}


def test_spring_headers_that_repeat_are_of_the_first_and_the_latest_failure() -> None:
    on_a_retry_topic = (*spring(b"orders-retry", 0, 9)[:-2], ("kafka_dlt-exception-message", b"still no stock"))
    found = letter(spring() + on_a_retry_topic)
    assert str(found.origin) == AT
    assert found.message == "com.acme.OutOfStock: still no stock"
    assert found.record is not None
    assert found.record.headers == ()
    published_again = letter(spring() + spring(b"orders", 2, 5_000, THEN + 9))
    assert (str(published_again.origin), published_again.origin_timestamp) == ("kafka://orders/2/5000", THEN + 9)


def test_spring_tells_of_keys_too() -> None:
    headers = (
        *spring()[:6],
        ("kafka_dlt-key-exception-fqcn", b"org.springframework.kafka.support.serializer.DeserializationException"),
        ("kafka_dlt-key-exception-message", b"failed to deserialize"),
        ("kafka_deliveryAttempt", pack(">i", 3)),
    )
    found = letter(headers)
    assert found.message == (
        "org.springframework.kafka.support.serializer.DeserializationException: key: failed to deserialize"
    )
    assert found.attempts == 3


def test_smallrye_writes_the_latest_first() -> None:
    again = tuple((name, {"dead-letter-topic": b"orders-dlq"}.get(name, value)) for name, value in SMALLRYE)
    again = tuple((name, b"still none" if name == "dead-letter-reason" else value) for name, value in again)
    found = letter(again + SMALLRYE)
    assert (str(found.origin), found.message) == (AT, "com.acme.OutOfStock: still none")


def test_the_latest_failure_is_the_one_that_is_told() -> None:
    found = letter(OWN + spring() + CONNECT)
    assert found.dialect == "connect"
    assert found.record is not None
    assert found.record.headers == OWN + spring(), "what was there when it failed is the record's own"
    assert letter(CONNECT + spring()).dialect == "spring"


def test_a_share_groups_letter_may_leave_the_record_at_its_origin() -> None:
    empty = read(landed(SHARE, "dlq.shop", key=None, value=None), NAMING)
    assert empty.omitted == ("body", "headers", "key")
    assert letter(SHARE).omitted == ("headers",)


def test_the_group_of_spring_cloud_stream_is_in_the_name_of_its_stream() -> None:
    assert letter(CLOUD, "error.orders.billing.eu").group == "billing.eu"


def test_home_made_headers_with_numbers_as_text_are_understood() -> None:
    home_made: Headers = (
        ("x-original-topic", b"orders"), ("x-original-partition", b"3"), ("x-original-offset", b"4711"),
    )  # fmt: skip
    assert str(letter(home_made).origin) == AT


def test_karafka_once_put_the_partition_in_the_keys_place() -> None:
    old = tuple((name.replace("source", "original"), value) for name, value in KARAFKA[:4])
    found = read(landed(old, key=b"3"), NAMING)
    assert (found.dialect, str(found.origin), found.omitted) == ("karafka", AT, ("key",))


def test_early_versions_that_tell_less_are_understood() -> None:
    assert letter((("dead-letter-reason", b"no stock"),)).message == "no stock"
    assert letter((("dead-letter-reason", b"no stock"),)).stream == "orders", "by the name of its stream"
    assert letter(WOLVERINE[:4]).dialect == "wolverine"
    assert letter((("exception-type", b"my own"),)).dialect == "unknown", "a plain name alone is no dialect"
    assert letter((("original_topic", b"orders"),)).dialect == "unknown"


names = st.sampled_from([mark for dialect in DIALECTS for mark in dialect.marks]) | st.sampled_from(
    [name for headers in (spring(), RETRY, CONNECT, STREAMS, SHARE, SMALLRYE, CLOUD, KARAFKA, WOLVERINE)
     for name, _ in headers]
    + [tracecar.DIALECTS_HEADER, tracecar.OMITTED_HEADER]
)  # fmt: skip
values = st.none() | st.binary(max_size=24) | st.integers().map(lambda n: str(n).encode()) | st.just(b"\xff" * 9_000)


@given(st.lists(st.tuples(names, values), max_size=12).map(tuple), st.integers(-(2**63), 2**63 - 1))
def test_forged_headers_are_absent_ones(headers: Headers, timestamp: int) -> None:
    for system in ("kafka", "redis"):
        record = Record(Position(system, "orders-dlt", 0, 5), None, b"v", headers, timestamp)
        found = read(record, NAMING)
        assert isinstance(found, DeadLetter)
        assert len(found.message) <= 8_192
        assert found.attempts >= 1
        assert found.origin is None or 0 <= found.origin.offset < 2**63


# --- written beside our own -----------------------------------------------------------------------------------------


def written(headers: Headers = OWN, dialects: tuple[str, ...] = ALL, system: str = "kafka", **more: int) -> Outgoing:
    record = Record(Position(system, "orders", 3, more.get("offset", 4711)), b"o-1", b"{}", headers, THEN)
    event = Event(record.position, "o-1", THEN, 0, rejection=Rejection("schema.mismatch", "expected int", "data.qty"))
    writer = DeadLetterWriter(NAMING, "tracecar.shop", "shop", lambda: NOW * 1000, dialects)
    return writer.write(Decoded(record, event))


@pytest.mark.parametrize("dialect", ALL)
def test_what_is_written_in_a_dialect_reads_in_it(dialect: str) -> None:
    out = written(dialects=(dialect,))
    foreign = tuple(header for header in out.headers if not header[0].startswith("tracecar."))
    found = letter(foreign)
    assert (found.dialect, str(found.origin)) == (dialect, AT)
    assert "expected int" in found.message
    assert found.record is not None
    assert found.record.headers == OWN
    if dialect == "spring":
        assert dict(foreign)["kafka_dlt-original-offset"] == pack(">q", 4711)
        assert (found.group, found.origin_timestamp) == ("tracecar.shop", THEN)


def test_ours_counts_where_others_stand_beside_it_and_the_record_is_as_it_was() -> None:
    out = written()
    assert out.headers[: len(OWN)] == OWN
    found = letter(out.headers, "orders.dlt")
    assert (found.dialect, found.id) == ("tracecar", f"tracecar.shop@{AT}")
    assert found.record is not None
    assert found.record.headers == OWN


def test_nothing_grows_from_round_to_round() -> None:
    first = written()
    second = written(first.headers)
    assert len(second.headers) == len(first.headers)
    assert second.headers[: len(OWN)] == OWN


def test_headers_of_dialects_that_are_not_written_are_the_records_own() -> None:
    out = written(spring() + CONNECT, ("connect",))
    found = letter(out.headers, "orders.dlt")
    assert found.record is not None
    assert found.record.headers == spring()


def test_redis_has_no_partitions_and_no_offsets_to_tell() -> None:
    out = written(system="redis", offset=1_700_000_000_000 << 64)
    names = {name for name, _ in out.headers}
    assert "kafka_dlt-original-topic" in names
    assert "kafka_dlt-original-offset" not in names
    assert "__connect.errors.offset" not in names


def test_a_lighter_letter_keeps_what_others_read() -> None:
    out: Outgoing | None = written((("big", b"x" * 99),))
    while out is not None:
        found = letter(out.headers, "orders.dlt")
        assert found.dialect == "tracecar"
        assert dict(out.headers)["__connect.errors.topic"] == b"orders"
        own = () if "headers" in found.omitted else (("big", b"x" * 99),)
        assert found.record is not None
        assert found.record.headers == own
        out = shrink_dead_letter(out)


# --- where they are found -------------------------------------------------------------------------------------------


def naming(*read: str) -> StreamNames:
    return Config(
        service="shop", sources=SourcesConfig(), dead_letters=DeadLettersConfig(read=list(read))
    ).stream_names("g")


def test_names_to_read_may_be_patterns() -> None:
    names = naming("dead-letter-topic-*", "error.{stream}.*", "{stream}.dead", "wolverine-dead-letter-queue")
    watched = {"orders", "orders.eu"}
    for stream in (
        "dead-letter-topic-payments", "error.orders.billing", "error.orders.eu.billing.v2", "orders.dead",
        "wolverine-dead-letter-queue", "orders.dlt",
    ):  # fmt: skip
        assert names.is_dead_letter(stream)
        assert names.belongs(stream, watched), stream
    assert not names.belongs("error.payments.billing", watched)
    assert not names.belongs("payments.dead", watched)
    assert not names.is_dead_letter("orders")
    assert names.dead_letter_streams("orders") == ["orders.dlt", "orders.dead"]


def test_a_star_where_letters_are_written_is_a_star() -> None:
    letters = DeadLettersConfig(stream="{stream}*dlt", read=[])
    names = Config(service="shop", sources=SourcesConfig(), dead_letters=letters).stream_names("g")
    assert names.dead_letter_stream("orders") == "orders*dlt"
    assert not names.is_dead_letter("orders-and-dlt")


def test_streams_that_look_like_dead_letters_and_are_not_read_are_suggested() -> None:
    streams = [
        "orders", "orders.dlt", "dead-letter-topic-payments", "error.orders.billing.eu", "error.log.today",
        "wolverine-dead-letter-queue", "dlq.shop", "connect-dlq-warehouse", "shop_dead_letters", "errors", "delta",
    ]  # fmt: skip
    said = {finding.what: finding for finding in suggest_streams("sources.kafka", streams, NAMING)}
    assert all(finding.ok for finding in said.values())
    names = {what.split()[4].rstrip("?"): finding.detail.split("'")[-2] for what, finding in said.items()}
    assert names == {
        "dead-letter-topic-payments": "dead-letter-topic-*",
        "error.orders.billing.eu": "error.{stream}.*",
        "wolverine-dead-letter-queue": "wolverine-dead-letter-queue",
        "dlq.shop": "dlq.*",
        "connect-dlq-warehouse": "connect-dlq-warehouse",
        "shop_dead_letters": "shop_dead_letters",
    }
    assert suggest_streams("sources.kafka", streams, naming(*names.values())) == []
    many = suggest_streams("sources.kafka", [f"dlq.{number}" for number in range(100)], NAMING)
    assert len(many) == MAX_SUGGESTIONS + 1
    assert "80 more" in many[-1].detail
