"""Writing of dead letters: the record unchanged, the reason in headers, and no growth with each round."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.schema import Config, DeadLettersConfig, RedisConfig, SourcesConfig
from sidecar.dead_letters.dialects import read, tracecar
from sidecar.dead_letters.writer import DeadLetterWriter, shrink_dead_letter
from sidecar.domain.failure_fingerprint import cause_fingerprint, normalize_message
from sidecar.domain.model import DeadLetter, Decoded, Event, Headers, Outgoing, Record, Rejection, SchemaRef
from sidecar.domain.position import Position

CONFIG = Config(service="shop", sources=SourcesConfig(redis=RedisConfig(url="redis://127.0.0.1", streams=["orders"])))
NAMING = CONFIG.stream_names("tracecar.shop")
FAILED_AT = 1_767_225_600_000_001


def rejected(record: Record, message: str = "no", **event: object) -> Decoded:
    rejection = Rejection("schema.mismatch", message, "data.items[2].qty")
    return Decoded(record, Event(record.position, None, record.timestamp, 0, rejection=rejection, **event))  # type: ignore[arg-type]


def record(
    headers: Headers = (), value: bytes | None = b"\x00\xff", key: bytes | None = b"k", partition: int = 3
) -> Record:
    return Record(Position("kafka", "orders", partition, 4711), key, value, headers, 1_700_000_000_123)


def write(decoded: Decoded) -> Outgoing:
    return DeadLetterWriter(NAMING, "tracecar.shop", "shop", lambda: FAILED_AT).write(decoded)


def landed(letter: Outgoing, offset: int = 9) -> Record:
    """Return the letter as a reader of the broker receives it."""
    return Record(
        Position("kafka", letter.stream, letter.partition or 0, offset), letter.key, letter.value, letter.headers, 77
    )


headers = st.lists(
    st.tuples(st.text(max_size=8).filter(lambda n: not n.startswith("tracecar.")), st.none() | st.binary(max_size=8)),
    max_size=6,
).map(tuple)


@given(headers, st.none() | st.binary(max_size=40), st.none() | st.binary(max_size=10))
def test_a_letter_restores_the_record_unchanged(own: Headers, value: bytes | None, key: bytes | None) -> None:
    original = record(own, value, key)
    letter = write(rejected(original))
    assert letter.headers[: len(own)] == own
    back = read(landed(letter), NAMING)
    assert back.record == original
    assert back.dialect == "tracecar"


def test_a_letter_has_reason_origin_and_time() -> None:
    event = {"event_id": "e-1", "type": "OrderPlaced", "trace_id": 0xABC, "aggregate_id": "o-1"}
    letter = write(rejected(record(), "expected int", schema=SchemaRef("orders-value", 3, 17), **event))
    assert letter.stream == "orders.dlt"
    assert letter.partition == 3
    assert letter.origin == Position("kafka", "orders", 3, 4711)
    facts = {name: (value or b"").decode() for name, value in letter.headers}
    assert facts == {
        "tracecar.dead-letter-id": "tracecar.shop@kafka://orders/3/4711",
        "tracecar.stage": "schema",
        "tracecar.code": "schema.mismatch",
        "tracecar.message": "expected int",
        "tracecar.path": "data.items[2].qty",
        "tracecar.failed-at": "2026-01-01T00:00:00.000001Z",
        "tracecar.service": "shop",
        "tracecar.attempts": "1",
        "tracecar.origin": "kafka://orders/3/4711",
        "tracecar.origin-timestamp": "1700000000123",
        "tracecar.event-id": "e-1",
        "tracecar.event-type": "OrderPlaced",
        "tracecar.trace-id": f"{0xABC:032x}",
        "tracecar.aggregate-id": "o-1",
        "tracecar.schema": '{"subject":"orders-value","version":3,"id":17,"guid":null}',
    }
    back = read(landed(letter), NAMING)
    assert (back.schema, back.failed_at, back.group) == (SchemaRef("orders-value", 3, 17), FAILED_AT, "tracecar.shop")


def test_rounds_do_not_pile_up() -> None:
    first = write(rejected(record((("a", b"1"),))))
    second = write(rejected(Record(Position("kafka", "orders", 0, 1), b"k", b"v", first.headers, 5)))
    assert len(second.headers) == len(first.headers)
    assert second.headers[0] == ("a", b"1")


def test_a_failed_replay_counts_up_and_names_its_earlier_life() -> None:
    again = record((("tracecar.replay-attempt", b"2"), ("tracecar.replay-of", b"g@kafka://orders/0/1")))
    back = read(landed(write(rejected(again, replay_of="g@kafka://orders/0/1"))), NAMING)
    assert (back.attempts, back.replay_of) == (3, "g@kafka://orders/0/1")


def test_surrogates_and_long_messages_fit_into_headers() -> None:
    letter = write(rejected(record(), "\udcff" + "x" * 10_000))
    message = dict(letter.headers)["tracecar.message"]
    assert message is not None
    assert message.startswith(b"\\udcff")
    assert len(message) < 2_100


def test_a_letter_is_shrunk_step_by_step_and_says_so() -> None:
    letter: Outgoing | None = write(rejected(record((("big", b"x" * 99),))))
    seen = []
    while letter is not None:
        back = read(landed(letter), NAMING)
        assert back.id == "tracecar.shop@kafka://orders/3/4711"
        seen.append((back.omitted, letter.value, letter.key, dict(letter.headers).get("big")))
        letter = shrink_dead_letter(letter)
    assert seen == [
        ((), b"\x00\xff", b"k", b"x" * 99),
        (("body",), None, b"k", b"x" * 99),
        (("body", "headers"), None, b"k", None),
        (("body", "headers", "key"), None, None, None),
    ]


hostile = st.dictionaries(
    st.sampled_from(
        ["tracecar.origin", "tracecar.origin-timestamp", "tracecar.failed-at", "tracecar.schema", "tracecar.attempts"]
    ),
    st.none() | st.binary(max_size=60) | st.text(max_size=40).map(lambda t: t.encode("utf-8", "replace")),
)


@given(hostile)
def test_forged_headers_are_read_as_absent_not_as_errors(forged: dict[str, bytes | None]) -> None:
    head = (tracecar.ID_HEADER, b"g@nowhere")
    letter = Record(Position("kafka", "orders.dlt", 0, 1), None, None, (head, *forged.items()), 7)
    back = read(letter, NAMING)
    assert isinstance(back, DeadLetter)
    assert back.id == "g@nowhere"


def test_an_unknown_letter_is_shown_by_its_streams_name() -> None:
    back = read(record(), CONFIG.stream_names("g"))
    assert back.dialect == "unknown"
    other = read(Record(Position("kafka", "orders-dlq", 0, 5), b"k", b"v", (), 1), NAMING)
    assert (other.id, other.stream, other.dialect) == ("@kafka://orders-dlq/0/5", "orders", "unknown")


def test_messages_of_one_cause_read_the_same() -> None:
    one = normalize_message('data.items[2].qty: expected int, found string "two" (orders-value v3)')
    two = normalize_message('data.items[17].qty: expected int, found string "seven\\" x" (orders-value v3)')
    assert one == two
    assert normalize_message("no such order 4711") == normalize_message("no such order 12")
    assert normalize_message("expected int") != normalize_message("expected long")


def test_a_cause_is_equal_for_like_letters_and_differs_by_code_stream_and_path() -> None:
    first = read(landed(write(rejected(record(), 'found "a"'))), NAMING)
    like = read(landed(write(rejected(record(partition=1), 'found "b"'))), NAMING)
    assert cause_fingerprint(first) == cause_fingerprint(like)
    assert (
        len(
            {
                cause_fingerprint(first),
                cause_fingerprint(changed(first, code="decode.malformed")),
                cause_fingerprint(changed(first, path="x")),
            }
        )
        == 3
    )


def changed(letter: DeadLetter, **what: object) -> DeadLetter:
    from msgspec.structs import replace

    return replace(letter, **what)


def test_names_of_dead_letter_streams_are_recognized_for_any_stream() -> None:
    for stream in ("orders.dlt", "orders-dlt", "a.DLT", "x.dlq", "x-dlq", "x.DLQ", "tracecar.ledger", "orders.dlt.dlt"):
        assert NAMING.is_dead_letter(stream), stream
    for stream in ("orders", ".dlt", "orders.dlt2", "dlt.orders"):
        assert not NAMING.is_dead_letter(stream), stream
    assert NAMING.dead_letter_stream("orders") == "orders.dlt"
    assert NAMING.origins("orders-dlq") == ["orders"]


def test_names_can_be_shared_by_service_and_group() -> None:
    config = Config(
        service="shop", sources=CONFIG.sources, dead_letters=DeadLettersConfig(stream="dead.{service}.{group}", read=[])
    )
    naming = config.stream_names("g")
    assert naming.dead_letter_stream("orders") == "dead.shop.g"
    assert naming.is_dead_letter("dead.shop.g")
    assert not naming.is_dead_letter("dead.shop.h")
