"""Dead letters of each framework, with header bytes written by hand after the frameworks' sources."""

from __future__ import annotations

from struct import pack

from sidecar.config.schema import Config, SourcesConfig
from sidecar.dead_letters.dialects import read
from sidecar.dead_letters.writer import DeadLetterWriter
from sidecar.domain.model import DeadLetter, Decoded, Event, Headers, Outgoing, Record, Rejection
from sidecar.domain.position import Position

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
    """Return the headers that `DeadLetterPublishingRecoverer` adds."""
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
WATERMILL: Headers = (
    ("_watermill_message_uuid", b"w-1"),
    ("reason_poisoned", b"no stock of sku 17"),
    ("topic_poisoned", b"orders"),
    ("handler_poisoned", b"billing"),
    ("subscriber_poisoned", b"kafka.Subscriber"),
)
RULES: Headers = (
    ("__rule.name", b"checkTotal"),
    ("__rule.mode", b"WRITE"),
    ("__rule.subject", b"orders-value"),
    ("__rule.topic", b"orders"),
    ("__rule.exception", b"Expr failed: 'message.total > 0'"),
)
AT = "kafka://orders/3/4711"
STOCK = "com.acme.OutOfStock: Listener failed; no stock of sku 17"


def written(headers: Headers = OWN, dialects: tuple[str, ...] = ALL, system: str = "kafka", **more: int) -> Outgoing:
    record = Record(Position(system, "orders", 3, more.get("offset", 4711)), b"o-1", b"{}", headers, THEN)
    event = Event(record.position, "o-1", THEN, 0, rejection=Rejection("schema.mismatch", "expected int", "data.qty"))
    writer = DeadLetterWriter(NAMING, "tracecar.shop", "shop", lambda: NOW * 1000, dialects)
    return writer.write(Decoded(record, event))


def assert_restored(headers: Headers) -> DeadLetter:
    """Read a dead letter with a framework's headers among the record's own, and assert that the record is restored."""
    found = letter(OWN[:1] + headers + OWN[1:])
    assert found.id == "@kafka://orders-dlt/1/5"
    assert found.appended_at == NOW
    assert found.record is not None
    assert found.record.headers == OWN, "the record is given back without the framework's headers"
    assert (found.record.key, found.record.value) == (b"o-1", b"{}")
    assert found.record.position == (found.origin or found.position)
    return found


def assert_written(dialect: str) -> tuple[DeadLetter, Headers]:
    """Write a dead letter in a dialect beside ours, read it by the dialect's headers alone, and assert its fields."""
    out = written(dialects=(dialect,))
    foreign = tuple(header for header in out.headers if not header[0].startswith("tracecar."))
    found = letter(foreign)
    assert (found.dialect, str(found.origin)) == (dialect, AT)
    assert "expected int" in found.message
    assert found.record is not None
    assert found.record.headers == OWN
    return found, foreign
