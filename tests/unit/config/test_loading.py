"""Loading of a configuration file: defaults, variables of the environment, and masked output."""

import json
import os
import stat
from inspect import signature
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from sidecar.config.kafka_client_options import CLIENT_OPTIONS, SET_ELSEWHERE
from sidecar.config.loader import describe, load, loads
from sidecar.config.schema import Config, RedisConfig, SourcesConfig, TlsConfig
from sidecar.config.value_types import Duration, StartPosition
from sidecar.domain.errors import ConfigError

EVERYTHING = Path(__file__).parent / "files" / "everything.yaml"
SMALL = "service: shop\nsources: {kafka: {bootstrap_servers: 'kafka:9092', topics: [orders]%s}}\n%s"


def small(kafka: str = "", rest: str = "", **environ: str) -> Config:
    return loads(SMALL % (kafka, rest), environ)


def mistakes(text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        loads(text, environ)
    return [str(mistake) for mistake in refused.value.mistakes]


def test_the_file_with_every_section_loads() -> None:
    config = load(EVERYTHING, {"KAFKA_PASSWORD": "geheim"})
    assert config.sources.kafka is not None
    assert config.sources.kafka.topics == ["orders", r"^payments\..*"]
    assert config.sources.kafka.gate == {"orders.in": "orders"}
    assert config.sources.kafka.sasl is not None
    assert config.sources.kafka.sasl.password == "geheim"
    assert config.sources.redis is not None
    assert config.sources.redis.start == StartPosition("at", 1_769_860_800_000)
    assert config.dead_letters.breaker.window == 60
    assert config.api.token == ""


def test_omitted_keys_have_their_defaults() -> None:
    config = small()
    made = Config(service="shop", sources=config.sources)
    assert config == made


@pytest.mark.parametrize(
    ("written", "start"),
    [
        ("latest", StartPosition("latest")),
        ("earliest", StartPosition("earliest")),
        ("1h", StartPosition("ago", 3_600_000)),
        ("1h30m", StartPosition("ago", 5_400_000)),
        ("250ms", StartPosition("ago", 250)),
        ("2026-01-31T12:00:00Z", StartPosition("at", 1_769_860_800_000)),
        ("2026-01-31T13:00:00.5+01:00", StartPosition("at", 1_769_860_800_500)),
        ("2026-01-31", StartPosition("at", 1_769_817_600_000)),
    ],
)
def test_every_form_of_a_start_is_accepted(written: str, start: StartPosition) -> None:
    config = small(f", start: {written}")
    assert config.sources.kafka is not None
    assert config.sources.kafka.start == start


@pytest.mark.parametrize(
    "written", ["-1h", "1 h", "1y", "h", "1e3s", "99999999d", "Latest", "0000-01-01", "1_0s", "٣s"]
)
def test_invalid_starts_are_refused(written: str) -> None:
    with pytest.raises(ConfigError, match=r"sources\.kafka\.start: expected latest, earliest, "):
        small(f", start: {written}")


def test_a_key_with_nothing_in_it_is_an_empty_mapping_so_that_tls_is_never_off_by_accident() -> None:
    config = loads(
        "service: shop\nsources:\n  redis:\n    url: redis://redis\n    streams: [a]\n    gate:\n    tls:\n", {}
    )
    assert config.sources.redis is not None
    assert config.sources.redis.tls == TlsConfig()
    assert config.sources.redis.gate == {}


def test_variables_are_filled_in_wherever_a_value_stands() -> None:
    config = small(
        ", start: '${BACK:-1h}'",
        "api: {port: '${PORT}', host: '${EMPTY:-0.0.0.0}'}\n"
        "registry: {url: 'http://${HOST}:${PORT}', require: '${REQUIRE}'}\n"
        "dead_letters: {stream: '${LETTERS:-{stream}.dead}', breaker: {ratio: '${RATIO}', window: '${A:-${B:-7s}}'}}",
        PORT="9000",
        HOST="registry",
        EMPTY="",
        REQUIRE="true",
        RATIO="0.25",
    )
    assert (config.api.port, config.api.host) == (9000, "0.0.0.0")
    assert (config.registry.url, config.registry.require) == ("http://registry:9000", True)
    assert config.dead_letters.stream == "{stream}.dead"
    assert (config.dead_letters.breaker.ratio, config.dead_letters.breaker.window) == (0.25, 7)
    assert config.sources.kafka is not None
    assert config.sources.kafka.start == StartPosition("ago", 3_600_000)
    assert type(config.registry.url) is str


def test_a_value_of_the_environment_brings_no_yaml_and_no_variables() -> None:
    config = loads(
        'service: shop\nsources: {redis: {url: "redis://redis", streams: ["${A}", "$${A}", "$A", "a$"]}}',
        {"A": "x], url: ${B}, y: [{"},
    )
    assert config.sources.redis is not None
    assert config.sources.redis.streams == ["x], url: ${B}, y: [{", "${A}", "$A", "a$"]


def test_an_empty_variable_is_a_value_where_there_is_no_default() -> None:
    assert small("", 'api: {token: "${TOKEN}"}', TOKEN="").api.token == ""
    assert mistakes(SMALL % ("", 'api: {token: "${TOKEN}"}')) == [
        "api.token: expected the environment variable TOKEN (or a default: ${TOKEN:-…}), found it is not set"
    ]


def test_no_secret_is_shown_by_repr_describe_or_a_mistake() -> None:
    config = loads(
        """
service: shop
sources:
  kafka:
    bootstrap_servers: kafka:9092
    topics: [orders]
    sasl: {mechanism: PLAIN, username: shop, password: geheim-1}
  redis: {url: "redis://shop:geheim-2@redis:6379/0?password=geheim-3", streams: [orders]}
registry: {url: ["http://u:geheim-4@registry", "https://ok"], basic: {username: u, password: geheim-5}}
exporters: {otlp: {headers: {x-key: geheim-6}}}
api: {token: geheim-7, tokens: [{name: a, token: geheim-8, role: read}]}
""",
        {},
    )
    for shown in (repr(config), str(config), str(describe(config)), repr(config.api.tokens), f"{config.sources}"):
        assert "geheim" not in shown
    assert config.api.tokens[0].token == "geheim-8"
    assert describe(config)["registry"]["url"] == ["http://***@registry", "https://ok"]
    wrong = mistakes(
        SMALL
        % ("", "service2: '${DB_PASSWORD}'\nregistry: {directory: '${DB_PASSWORD}', on_outage: '${DB_PASSWORD}'}"),
        DB_PASSWORD="geheim",
    )
    assert not any("geheim" in said for said in wrong)
    assert any(said.endswith("found text that is not shown here (from ${DB_PASSWORD})") for said in wrong)


def test_a_described_configuration_loads_to_the_same() -> None:
    config = load(EVERYTHING, {"KAFKA_PASSWORD": "***"})
    said = describe(config)
    assert said["sources"]["redis"]["claim_idle"] == "1m"
    assert loads(json.dumps(said), {}) == config


def test_trouble_with_the_file_itself_is_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = tmp_path / "none.yaml"
    (tmp_path / "latin.yaml").write_bytes(b"service: shop\nsources: caf\xe9")
    for path, said in [
        (missing, "No such file or directory"),
        (tmp_path, "Is a directory"),
        (tmp_path / "latin.yaml" / "x", "Not a directory"),
        (tmp_path / "latin.yaml", "the byte 0xE9 on line 2"),
    ]:
        with pytest.raises(ConfigError) as refused:
            load(path, {})
        assert str(refused.value).startswith(f"{path}: the file: expected ")
        assert str(refused.value).endswith(f"found {said}")

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(ConfigError, match="found Permission denied"):
        load(missing, {})


def test_a_file_of_any_size_or_kind_is_read_in_bounds(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    large.write_bytes(b"# " + b"x" * 5_000_000)
    with pytest.raises(ConfigError, match="expected at most 1000000 characters"):
        load(large, {})
    assert stat.S_ISCHR(os.stat("/dev/zero").st_mode)
    with pytest.raises(ConfigError, match="expected at most 1000000 characters"):
        load("/dev/zero", {})


def test_json_is_yaml_with_every_character() -> None:
    source = {"redis": {"url": "redis://h", "streams": ["\U0001f600"]}}
    written = json.dumps({"service": "shop", "sources": source})
    assert "\\ud83d\\ude00" in written
    assert loads(written, {}).sources.redis.streams == ["\U0001f600"]


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "windows.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + (SMALL % ("", "")).replace("\n", "\r\n").encode())
    assert load(file, {}).service == "shop"


@pytest.mark.parametrize(
    "url",
    [
        "redis://redis",
        "redis://:secret@redis:6379/0",
        "rediss://user:p%40ss@redis:6379/15?protocol=3",
        "redis+sentinel://h1:26379,h2:26379/main/0",
        "redis+cluster://h1:6379,h2:6379",
        "unix:///run/redis.sock",
        "redis://[::1]:6379",
    ],
)
def test_every_form_of_a_redis_url_is_accepted(url: str) -> None:
    config = loads(f"service: shop\nsources: {{redis: {{url: '{url}', streams: [a]}}}}", {})
    assert config.sources == SourcesConfig(redis=RedisConfig(url=url, streams=["a"]))


@pytest.mark.parametrize(
    "url", ["http://redis", "redis:redis", "redis://a:1,b:2", "redis+sentinel://a:1", "redis://a/x", "redis://"]
)
def test_invalid_redis_urls_are_refused(url: str) -> None:
    assert mistakes(f"service: shop\nsources: {{redis: {{url: '{url}', streams: [a]}}}}")


def test_the_options_of_the_kafka_client_are_its_own() -> None:
    theirs = {*signature(AIOKafkaConsumer).parameters, *signature(AIOKafkaProducer).parameters}
    assert theirs >= {*CLIENT_OPTIONS, *SET_ELSEWHERE}
    assert small(", client: {linger_ms: 5, client_rack: a}").sources.kafka is not None


def test_lengths_of_time_are_seconds() -> None:
    config = small("", "index: {lookback: 1d}")
    assert config.index.lookback == Duration(86_400)
    assert isinstance(config.index.lookback, Duration)
