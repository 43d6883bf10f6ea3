"""Rules about keys that depend on one another.

Each rule names the values that it needs, and runs only if all of them were read without a mistake. A value in an absent
section counts as absent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sidecar.config.kafka_client_options import client_option_mistakes
from sidecar.config.schema import (
    CHECKED,
    Config,
    DeadLettersConfig,
    KafkaConfig,
    MemoryIndexConfig,
    OtlpConfig,
    RedisConfig,
    RedisIndexConfig,
    SamplingConfig,
    SourcesConfig,
    TlsConfig,
    TokenConfig,
    ZipkinConfig,
)
from sidecar.config.value_types import Duration
from sidecar.domain.errors import Mistake, QueryError
from sidecar.domain.stream_names import LEDGER
from sidecar.query import parse

Rule = Callable[..., Iterator[Mistake]]
_RULES: list[tuple[tuple[str, ...], Rule]] = []
_WILD = ("0.0.0.0", "::", "[::]")


def check(read: Mapping[str, Any]) -> list[Mistake]:
    """Run all rules on the values, by their paths, and collect the mistakes."""
    return [
        mistake
        for paths, rule in _RULES
        if all(path in read for path in paths)
        for mistake in rule(*(read[path] for path in paths))
    ]


def _rule(*paths: str) -> Callable[[Rule], Rule]:
    def add(rule: Rule) -> Rule:
        _RULES.append((paths, rule))
        return rule

    return add


# --- sources ----------------------------------------------------------------------------------------------------------


@_rule("sources.kafka", "sources.redis")
def _some_source(kafka: KafkaConfig | None, redis: RedisConfig | None) -> Iterator[Mistake]:
    if kafka is None and redis is None:
        yield Mistake("sources", "kafka, redis, or both", "neither")


@_rule("sources.kafka.topics", "sources.kafka.gate")
def _something_of_kafka(topics: list[str], gate: dict[str, str]) -> Iterator[Mistake]:
    if not topics and not gate:
        yield Mistake("sources.kafka.topics", "at least one topic (or a gate)", "none")


@_rule("sources.redis.streams", "sources.redis.gate")
def _something_of_redis(streams: list[str], gate: dict[str, str]) -> Iterator[Mistake]:
    if not streams and not gate:
        yield Mistake("sources.redis.streams", "at least one stream (or a gate)", "none")


@_rule("sources.kafka.gate")
def _kafka_gate_ends(gate: dict[str, str]) -> Iterator[Mistake]:
    yield from _loops("sources.kafka.gate", gate)


@_rule("sources.redis.gate")
def _redis_gate_ends(gate: dict[str, str]) -> Iterator[Mistake]:
    yield from _loops("sources.redis.gate", gate)


@_rule("dead_letters.enabled", "sources.kafka.gate")
def _kafka_gate_loses_nothing(enabled: bool, gate: dict[str, str]) -> Iterator[Mistake]:
    yield from _gate_without_letters("kafka", enabled, gate)


@_rule("dead_letters.enabled", "sources.redis.gate")
def _redis_gate_loses_nothing(enabled: bool, gate: dict[str, str]) -> Iterator[Mistake]:
    yield from _gate_without_letters("redis", enabled, gate)


def _gate_without_letters(source: str, enabled: bool, gate: dict[str, str]) -> Iterator[Mistake]:
    """Refuse a gate that would lose the records that it does not pass on."""
    if gate and not enabled:
        yield Mistake(
            "dead_letters.enabled",
            f"true, because sources.{source}.gate would lose every event that it rejects",
            "false",
        )


def _loops(path: str, gate: Mapping[str, str]) -> Iterator[Mistake]:
    reported: set[str] = set()
    for left in gate:
        way = [left]
        while way[-1] in gate and gate[way[-1]] not in way:
            way.append(gate[way[-1]])
        if gate.get(way[-1]) == left and left not in reported:
            reported.update(way)
            yield Mistake(_item_path(path, left), "a gate to another stream", f"a loop: {' → '.join([*way, left])}")


@_rule("service", "dead_letters.stream", "dead_letters.read", "sources.kafka.topics", "sources.kafka.gate")
def _kafka_apart(
    service: str, stream: str, read: list[str], topics: list[str], gate: dict[str, str]
) -> Iterator[Mistake]:
    names = {f"sources.kafka.topics[{n}]": topic for n, topic in enumerate(topics) if not topic.startswith("^")}
    yield from _apart(service, stream, read, "sources.kafka", names, gate)


@_rule("service", "dead_letters.stream", "dead_letters.read", "sources.redis.streams", "sources.redis.gate")
def _redis_apart(
    service: str, stream: str, read: list[str], streams: list[str], gate: dict[str, str]
) -> Iterator[Mistake]:
    names = {f"sources.redis.streams[{n}]": name for n, name in enumerate(streams) if not set(name) & set("*?[")}
    yield from _apart(service, stream, read, "sources.redis", names, gate)


def _apart(
    service: str, stream: str, read: list[str], source: str, names: dict[str, str], gate: dict[str, str]
) -> Iterator[Mistake]:
    """Dead-letter streams and the ledger are never read as ordinary streams, nor written by a gate."""
    letters = DeadLettersConfig(stream=stream, read=read)
    naming = Config(service=service, sources=SourcesConfig(), dead_letters=letters).stream_names(f"tracecar.{service}")
    names = names | {_item_path(f"{source}.gate", left): left for left in gate}
    for path, name in names.items():
        if naming.is_dead_letter(name):
            what = (
                "the ledger" if name == LEDGER else "a dead-letter stream by dead_letters.stream or dead_letters.read"
            )
            yield Mistake(path, "an ordinary stream", f"{name!r}, {what}")
    for left, right in gate.items():
        if naming.is_dead_letter(right):
            yield Mistake(
                _item_path(f"{source}.gate", left),
                "an ordinary stream as the target",
                f"{right!r}, a dead-letter stream",
            )


@_rule("dead_letters.stream", "sources.kafka.topics")
def _kafka_can_name_it(stream: str, topics: list[str]) -> Iterator[Mistake]:
    rest = stream.replace("{stream}", "").replace("{service}", "").replace("{group}", "")
    odd = sorted(
        {character for character in rest if not (character.isascii() and (character.isalnum() or character in "._-"))}
    )
    if odd:
        yield Mistake(
            "dead_letters.stream", "letters, digits, dots, dashes, underscores (for Kafka)", f"{odd[0]!r} in {stream!r}"
        )


_OAUTH = ("token_endpoint", "client_id", "client_secret", "scope")
_PASSWORD = ("username", "password")


def _sasl_key(name: str) -> None:
    path = f"sources.kafka.sasl.{name}"

    @_rule("sources.kafka.sasl.mechanism", path)
    def fits(mechanism: str, value: str | None) -> Iterator[Mistake]:
        wanted = (name in _OAUTH) == (mechanism == "OAUTHBEARER")
        if wanted and value is None and name != "scope":
            yield Mistake(path, f"some text, for {mechanism}", "nothing: the key is missing")
        if not wanted and value is not None:
            yield Mistake(path, f"no such key with {mechanism}", "a value")


for _name in (*_PASSWORD, *_OAUTH):
    _sasl_key(_name)


def _certificate(path: str) -> None:
    @_rule(f"{path}.cert", f"{path}.key")
    def both(cert: str | None, key: str | None) -> Iterator[Mistake]:
        if key is not None and cert is None:
            yield Mistake(f"{path}.cert", "the certificate that belongs to the key", "nothing: the key is missing")


for _path in ("sources.kafka.tls", "sources.redis.tls", "registry.tls"):
    _certificate(_path)


@_rule("sources.kafka.client")
def _known_options(client: dict[str, Any]) -> Iterator[Mistake]:
    yield from client_option_mistakes(client)


# --- registry, dead letters, index ------------------------------------------------------------------------------------


@_rule("registry.url", "registry.directory", "registry.require")
def _one_registry(url: str | list[str] | None, directory: str | None, require: bool) -> Iterator[Mistake]:
    if url == []:
        yield Mistake("registry.url", "at least one URL", "an empty list")
    if url is not None and directory is not None:
        yield Mistake("registry", "url or directory", "both")
    if require and url is None and directory is None:
        yield Mistake("registry.require", "a registry (url or directory) to require schemas from", "neither")


@_rule("registry.directory", "registry.basic", "registry.token")
def _one_way_in(directory: str | None, basic: object, token: str | None) -> Iterator[Mistake]:
    if basic is not None and token is not None:
        yield Mistake("registry", "basic or token", "both")
    if directory is not None and (basic is not None or token is not None):
        yield Mistake("registry", "no basic or token with a directory", "one")


def _lasting(path: str) -> None:
    @_rule(path)
    def more_than_nothing(length: Duration) -> Iterator[Mistake]:
        if length <= 0:
            yield Mistake(path, "a duration of more than 0", "0s")


for _path in ("dead_letters.breaker.window", "sources.redis.claim_idle", "history.keep.age", "history.flush"):
    _lasting(_path)


@_rule("dead_letters.read")
def _some_of_the_name(read: list[str]) -> Iterator[Mistake]:
    for number, template in enumerate(read):
        if not re.sub(r"\{(?:service|group|stream)\}|\*", "", template) and template != "{stream}":
            yield Mistake(f"dead_letters.read[{number}]", "a name that only dead letters use", repr(template))


@_rule("index.memory", "index.redis")
def _one_index(memory: MemoryIndexConfig | None, redis: RedisIndexConfig | None) -> Iterator[Mistake]:
    if memory is not None and redis is not None:
        yield Mistake("index", "memory or redis", "both")


@_rule("index.redis.prefix")
def _outside_of_hash_tags(prefix: str) -> Iterator[Mistake]:
    if set("{}") & set(prefix):
        yield Mistake("index.redis.prefix", "a name without braces, which would be a hash tag", repr(prefix))


# --- API --------------------------------------------------------------------------------------------------------------


@_rule("api.token", "api.tokens")
def _different_tokens(token: str, tokens: Sequence[TokenConfig]) -> Iterator[Mistake]:
    names: dict[str, int] = {}
    values = {token: "api.token"} if token else {}
    for number, entry in enumerate(tokens):
        path = f"api.tokens[{number}]"
        if entry.name in names:
            yield Mistake(f"{path}.name", "a name of its own", f"{entry.name!r}, as in api.tokens[{names[entry.name]}]")
        if entry.token in values:
            yield Mistake(f"{path}.token", "a token of its own", f"the same as {values[entry.token]}")
        names.setdefault(entry.name, number)
        values.setdefault(entry.token, f"{path}.token")


@_rule("api.host", "api.port", "health.host", "health.port")
def _different_ports(host: str, port: int, health_host: str, health_port: int | None) -> Iterator[Mistake]:
    same_host = host == health_host or host in _WILD or health_host in _WILD
    if health_port is not None and health_port == port and port != 0 and same_host:
        yield Mistake("health.port", "another port than api.port", str(health_port))
    if health_port is None and health_host != "127.0.0.1":
        yield Mistake("health.port", "a port for the listener on health.host", "nothing: the key is missing")


def _item_path(path: str, key: str) -> str:
    return f"{path}[{key}]" if "." in key else f"{path}.{key}"


# --- exporters --------------------------------------------------------------------------------------------------------


@_rule("exporters.sampling")
def _sampling_by_what(sampling: SamplingConfig | None) -> Iterator[Mistake]:
    if sampling is None:
        return
    if sampling.keep == "ratio" and sampling.ratio is None:
        yield Mistake(
            "exporters.sampling.ratio", "a share from 0 to 1, because keep is ratio", "nothing: the key is missing"
        )
    if sampling.keep != "tail":
        for name in ("slow", "query"):
            if getattr(sampling, name) is not None:
                yield Mistake(f"exporters.sampling.{name}", "to be left out unless keep is tail", "a value")
    if sampling.query is not None:
        try:
            parse(sampling.query)
        except QueryError as error:
            yield Mistake("exporters.sampling.query", f"a query ({error})", repr(sampling.query))


@_rule("exporters.otlp")
def _otlp_checks_names(otlp: OtlpConfig | None) -> Iterator[Mistake]:
    if otlp is not None and otlp.protocol == "grpc" and otlp.tls is not None and not otlp.tls.check_hostname:
        yield Mistake("exporters.otlp.tls.check_hostname", CHECKED, "false")


@_rule("exporters.otlp")
def _otlp_is_encrypted(otlp: OtlpConfig | None) -> Iterator[Mistake]:
    if otlp is not None and otlp.endpoint is not None:
        yield from _check_encryption("exporters.otlp.endpoint", otlp.endpoint, otlp.tls)


@_rule("exporters.otlp.endpoint")
def _otlp_address_is_a_base(endpoint: str | None) -> Iterator[Mistake]:
    for signal in ("traces", "metrics", "logs"):
        path = f"/v1/{signal}"
        if endpoint is not None and endpoint.rstrip("/").endswith(path):
            yield Mistake(
                "exporters.otlp.endpoint", f"the base address: {path} is added to it", f"an address with {path}"
            )


@_rule("exporters.zipkin")
def _zipkin_is_encrypted(zipkin: ZipkinConfig | None) -> Iterator[Mistake]:
    if zipkin is not None:
        yield from _check_encryption("exporters.zipkin.endpoint", zipkin.endpoint, zipkin.tls)


def _check_encryption(path: str, endpoint: str, tls: TlsConfig | None) -> Iterator[Mistake]:
    """Refuse a plain http address if TLS is configured for it."""
    if tls is not None and endpoint.startswith("http:"):
        yield Mistake(path, "an https address, as tls is configured", "an http address")
