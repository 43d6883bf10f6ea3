"""URLs, slots and entries of Redis, as far as no server is needed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.adapters.brokers.redis.cluster_key_names import (
    add_hash_tag,
    cluster_dead_letter_stream,
    cluster_dead_letter_streams,
    crosses,
    remove_hash_tag,
    slot,
)
from sidecar.adapters.brokers.redis.consumer_name import ConsumerSlot
from sidecar.adapters.brokers.redis.entry_codec import EntryCodec, entry_id, offset, raw
from sidecar.adapters.brokers.redis.traits import format_entry_id, parse_entry_id
from sidecar.adapters.redis_client.urls import RedisAddress, parse
from sidecar.config.schema import Config, SourcesConfig
from sidecar.domain.errors import Refused
from sidecar.domain.model import Outgoing

NAMING = Config(service="test", sources=SourcesConfig()).stream_names("group")


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("redis://localhost", RedisAddress("server", (("localhost", 6379),))),
        ("redis://127.0.0.1:7000/3", RedisAddress("server", (("127.0.0.1", 7000),), database=3)),
        ("rediss://user:p%40ss@[::1]:7000", RedisAddress("server", (("::1", 7000),), True, "user", "p@ss")),
        ("redis://:secret@host", RedisAddress("server", (("host", 6379),), password="secret")),
        (
            "redis+sentinel://u:p@h1:26379,h2/shop/2?sentinel_password=s",
            RedisAddress("sentinel", (("h1", 26379), ("h2", 26379)), False, "u", "p", 2, "shop", sentinel_password="s"),
        ),
        ("rediss+cluster://h1:1,h2:2", RedisAddress("cluster", (("h1", 1), ("h2", 2)), True)),
        ("unix:///var/run/redis.sock?db=1", RedisAddress("unix", (), database=1, path="/var/run/redis.sock")),
    ],
)
def test_urls_are_parsed(url: str, target: RedisAddress) -> None:
    assert parse(url) == target


@pytest.mark.parametrize("url", ["http://localhost", "redis+sentinel://h1:1", "localhost:6379", "redis://host:port"])
def test_invalid_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # int() raises its own
        parse(url)


def test_a_target_shows_no_secret() -> None:
    target = parse("redis+sentinel://user:secret@h1:1,[::1]:2/shop?sentinel_password=secret")
    assert "secret" not in f"{target} {target!r}"
    assert str(target) == "redis+sentinel://h1:1,[::1]:2/shop/0"


def test_slots_are_those_of_the_specification() -> None:
    assert slot(b"123456789") == 0x31C3
    assert slot(b"{user1000}.following") == slot(b"{user1000}.followers") == slot(b"user1000")
    assert slot(b"foo{}{bar}") == slot(b"foo{}{bar}")
    assert slot(b"foo{{bar}}zap") == slot(b"{bar")
    assert slot(b"foo{bar}{zap}") == slot(b"bar")


@pytest.mark.parametrize("stream", ["orders", "{shop}.orders", "a.{b}.c", "ünïcode", "with space"])
def test_a_dead_letter_stream_shares_its_origins_slot(stream: str) -> None:
    name = cluster_dead_letter_stream(NAMING, stream)
    assert not crosses(stream, name)
    assert NAMING.is_dead_letter(name)
    assert name in cluster_dead_letter_streams(NAMING, stream)
    assert remove_hash_tag(add_hash_tag(stream)) == stream
    assert stream in {remove_hash_tag(origin) for origin in NAMING.origins(name)}


def test_names_on_a_cluster() -> None:
    assert cluster_dead_letter_stream(NAMING, "orders") == "{orders}.dlt"
    assert cluster_dead_letter_stream(NAMING, "{shop}.orders") == "{shop}.orders.dlt"
    assert crosses("a{}b", cluster_dead_letter_stream(NAMING, "a{}b"))


NAMES = st.binary(max_size=8)


@given(st.lists(st.tuples(st.one_of(st.just(b"payload"), NAMES), NAMES), min_size=1, max_size=8))
def test_an_entry_is_written_again_as_it_was(pairs: list[tuple[bytes, bytes]]) -> None:
    entries = EntryCodec("payload")
    fields = [part for pair in pairs for part in pair]
    for _ in range(2):  # the field names are cached from the first entry
        (record,) = entries.records("s", [(b"1700000000000-3", fields)])
        out = Outgoing("s", record.key, record.value, record.headers, value_at=record.value_at)
        assert entries.fields(out) == fields


def test_many_kinds_of_entries_are_not_all_remembered() -> None:
    entries = EntryCodec("payload")
    for number in range(10_000):
        entries.records("s", [(b"1-1", [b"f%d" % number, b"v"])])
    entries.records("s", [(b"1-1", [b"x" * 100_000, b"v"])])
    assert sum(sum(map(len, names)) for names in entries._shapes) < 1_000_000


@pytest.mark.parametrize("out", [Outgoing("s", b"key", b"v", ()), Outgoing("s", None, None, ())])
def test_records_that_no_entry_can_hold_are_refused(out: Outgoing) -> None:
    with pytest.raises(Refused):
        EntryCodec("payload").fields(out)


@given(st.integers(0, 2**128 - 1))
def test_ids_and_offsets_are_the_same_thing(at: int) -> None:
    assert offset(entry_id(at)) == at
    assert entry_id(at).decode() == format_entry_id(at)
    assert parse_entry_id(format_entry_id(at)) == at


def test_names_of_members_are_stable_and_not_shared() -> None:
    first = ConsumerSlot("shop", "group", "redis://somewhere:1/0")
    second = ConsumerSlot("shop", "group", "redis://somewhere:1/0")
    elsewhere = ConsumerSlot("shop", "group", "redis://somewhere:2/0")
    try:
        assert first.name != second.name
        assert elsewhere.name == first.name
        first.leave()
        again = ConsumerSlot("shop", "group", "redis://somewhere:1/0")
        assert again.name == first.name
        again.leave()
    finally:
        second.leave()
        elsewhere.leave()
    assert raw("\udcff") == b"\xff"
