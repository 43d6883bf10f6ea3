"""The table of dialects: order, headers written beside ours, and names of dead-letter streams."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.config.schema import Config, DeadLettersConfig, SourcesConfig
from sidecar.dead_letters.dialects import DIALECTS, read, tracecar
from sidecar.dead_letters.discovery import MAX_SUGGESTIONS, suggest_streams
from sidecar.dead_letters.writer import shrink_dead_letter
from sidecar.domain.model import DeadLetter, Headers, Outgoing, Record
from sidecar.domain.position import Position
from sidecar.domain.stream_names import StreamNames
from tests.support.dead_letters import (
    ALL,
    AT,
    CLOUD,
    CONNECT,
    KARAFKA,
    NAMING,
    OWN,
    RETRY,
    RULES,
    SHARE,
    SMALLRYE,
    STREAMS,
    WATERMILL,
    WOLVERINE,
    letter,
    spring,
    written,
)  # fmt: skip


def test_the_table_has_every_dialect_once() -> None:
    names = [dialect.name for dialect in DIALECTS]
    assert names[0] == "tracecar"
    assert names[-1] == "unknown"
    assert len(names) == len(set(names)) == 13
    markers = [marker for dialect in DIALECTS for marker in dialect.markers]
    assert len(markers) == len(set(markers)), "no marker is of two dialects"
    assert {dialect.name for dialect in DIALECTS if dialect.is_written} == {"tracecar", *ALL}


def test_the_latest_failure_is_reported() -> None:
    found = letter(OWN + spring() + CONNECT)
    assert found.dialect == "connect"
    assert found.record is not None
    assert found.record.headers == OWN + spring(), "what was there when it failed is the record's own"
    assert letter(CONNECT + spring()).dialect == "spring"


SAMPLES = (spring(), RETRY, CONNECT, STREAMS, SHARE, SMALLRYE, CLOUD, KARAFKA, WOLVERINE, WATERMILL, RULES)
names = st.sampled_from([marker for dialect in DIALECTS for marker in dialect.markers]) | st.sampled_from(
    [name for headers in SAMPLES for name, _ in headers]
    + [tracecar.DIALECTS_HEADER, tracecar.OMITTED_HEADER]
)  # fmt: skip
values = st.none() | st.binary(max_size=24) | st.integers().map(lambda n: str(n).encode()) | st.just(b"\xff" * 9_000)


@given(st.lists(st.tuples(names, values), max_size=12).map(tuple), st.integers(-(2**63), 2**63 - 1))
@example((("retry_topic-attempts", b"\0"),), 0)
def test_forged_headers_are_absent_ones(headers: Headers, timestamp: int) -> None:
    for system in ("kafka", "redis"):
        record = Record(Position(system, "orders-dlt", 0, 5), None, b"v", headers, timestamp)
        found = read(record, NAMING)
        assert isinstance(found, DeadLetter)
        assert len(found.message) <= 8_192
        assert found.attempts is None or found.attempts >= 1
        assert found.origin is None or 0 <= found.origin.offset < 2**63


def test_our_headers_take_precedence_over_others_and_the_record_is_unchanged() -> None:
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


def test_a_star_in_the_name_of_the_written_stream_is_literal() -> None:
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
