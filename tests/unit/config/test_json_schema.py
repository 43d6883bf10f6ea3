"""The JSON Schema accepts what the loader accepts, as far as a schema can express it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from sidecar.config.loader import json_schema, load, loads
from sidecar.config.schema import Config
from sidecar.config.yaml_parser import parse
from sidecar.domain.errors import ConfigError

FILES = Path(__file__).parent / "files"
VALIDATOR = Draft202012Validator(json_schema())


def test_it_is_a_schema_of_draft_2020_12() -> None:
    Draft202012Validator.check_schema(json_schema())


def test_every_key_of_the_configuration_is_in_it_and_described() -> None:
    schema = json_schema()
    assert set(schema["properties"]) == set(Config.__struct_fields__)
    for name, definition in schema["$defs"].items():
        assert definition["description"], name


def test_the_file_with_every_section_is_valid() -> None:
    VALIDATOR.validate(parse((FILES / "everything.yaml").read_text(), []))


@pytest.mark.parametrize("path", sorted((FILES / "refused").glob("*.yaml")), ids=lambda path: path.stem)
def test_files_that_the_schema_refuses_are_refused_by_the_loader(path: Path) -> None:
    data = parse(path.read_text(), [])
    if not VALIDATOR.is_valid(data):
        with pytest.raises(ConfigError):
            load(path, {})


BASE = """
service: shop
sources:
  kafka: {bootstrap_servers: kafka:9092, topics: [orders], tls: {}, sasl: {mechanism: PLAIN, username: a, password: b}}
  redis: {url: redis://redis, streams: [orders]}
registry: {url: http://registry}
dead_letters: {breaker: {}}
index: {memory: {}}
exporters: {otlp: {}, zipkin: {endpoint: http://zipkin}}
api: {tokens: [{name: a, token: b, role: read}]}
health: {port: 9000}
envelope: {event_id: [key]}
"""
# fmt: off
WORDS = [
    "${V}", "1h", "5", "0s", "latest", "2026-01-31", "2026-W05-6T12", "20260131", "^a.*", "a.b", "{stream}",
    "{stream}.x", "key", "body:a", "header:x", "body:a.*", "body:a[*]", "http://a", "redis://a", "unix:///a",
    "a:1", "hold", "pass", "PLAIN", "read", "grpc", "::1", "[::1]", "[::1]:80", "é", "a-b_c", "true", "null",
]
# fmt: on
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 70_000),
    st.floats(-1, 2),
    st.just([]),
    st.just({}),
    st.text(max_size=8),
    st.sampled_from(WORDS),
    st.lists(
        st.sampled_from(["trace", "a", "key", "body:x[0].y", "event_id", "spring", "{stream}.q", "http://b"]),
        max_size=2,
    ),
    st.dictionaries(
        st.sampled_from(["a", "b.c", "linger_ms", "ca", "max_events"]), st.sampled_from(["x", 5, None]), max_size=2
    ),
)


def paths(schema: dict[str, Any], defs: dict[str, Any]) -> list[tuple[str, ...]]:
    """Yield the path of every key in the schema."""
    for option in schema.get("anyOf", []):
        if "$ref" in option:
            schema = option
    if "$ref" in schema:
        schema = defs[schema["$ref"].rpartition("/")[2]]
    found: list[tuple[str, ...]] = []
    for key, inner in schema.get("properties", {}).items():
        found += [(key,), *((key, *way) for way in paths(inner, defs))]
    return found


PATHS = paths(json_schema(), json_schema()["$defs"])


@pytest.mark.slow
@settings(max_examples=600, deadline=None)
@given(way=st.sampled_from(PATHS), value=VALUES)
def test_values_that_the_schema_refuses_are_refused_by_the_loader(way: tuple[str, ...], value: Any) -> None:
    data = yaml.safe_load(BASE)
    at = data
    for key in way[:-1]:
        at = at.setdefault(key, {})
    at[way[-1]] = value
    try:
        loads(yaml.safe_dump(data), {"V": "v"})
    except ConfigError:
        return
    VALIDATOR.validate(parse(yaml.safe_dump(data), []))


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), st.text(alphabet="a:-[]{}&*!|>'\"%@`#,? \n$\t01.<~")))
def test_any_text_loads_or_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        loads(text, {})
