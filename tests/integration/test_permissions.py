"""docs/permissions.md on real servers: a user with exactly what a step gives can do what the step says, and no more."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.integration.sidecars import Sidecar
from tests.servers.kafka import PASSWORD, allow, create_topic, produce, scram_user, unique

PAGE = (Path(__file__).parents[2] / "docs" / "permissions.md").read_text("utf-8")
GOOD = {"eventId": "e-1", "eventType": "OrderPlaced"}
BAD = {"eventType": "OrderPlaced"}


def steps(part: str, stream: str, service: str, user: str) -> list[list[str]]:
    """The commands of a part of the page, a list for each step, for other names than the page's."""
    text = PAGE.partition(f"\n## {part}\n")[2].partition("\n## ")[0]
    found = []
    for block in re.findall(r"\n\*\*(?=\d)(.*?)(?=\n\*\*\d|\Z)", text, re.DOTALL):
        lines = [line for code in re.findall(r"```\n(.*?)```", block, re.DOTALL) for line in code.splitlines()]
        for old, new in (("User:tracecar", f"User:{user}"), ("SETUSER tracecar", f"SETUSER {user}")):
            lines = [line.replace(old, new) for line in lines]
        for old, new in (("tracecar.shop", f"tracecar.{service}"), ("orders", stream), ("PASSWORD", PASSWORD)):
            lines = [line.replace(old, new) for line in lines]
        found.append(lines)
    return found


def _grant_kafka(servers: str, line: str) -> None:
    """What `kafka-acls.sh` does with this line."""
    words = shlex.split(line)
    option = {word: words[at + 1] for at, word in enumerate(words[:-1]) if word.startswith("--") and word != "--add"}
    operations = [words[at + 1] for at, word in enumerate(words) if word == "--operation"]
    (kind,) = {"--topic", "--group", "--transactional-id"} & set(option)
    for operation in operations:
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).upper()
        allow(
            servers,
            option["--allow-principal"].removeprefix("User:"),
            kind.removeprefix("--").replace("-", "_"),
            option[kind],
            name,
            prefixed=option.get("--resource-pattern-type") == "prefixed",
        )


def _sidecar(folder: Path, service: str, sources: dict[str, Any], **more: Any) -> Sidecar:
    # An event without an id is rejected.
    config = {"service": service, "sources": sources, "envelope": {"required": ["event_id"]}, **more}
    return Sidecar(folder, config, unique("sidecar"))


def _failed(sidecar: Sidecar, code: int) -> list[dict[str, Any]]:
    """What `tracecar check` finds missing."""
    found = sidecar.cli("check", "-c", str(sidecar.directory / sidecar._file.name), "--json", code=code)
    return [one for one in map(json.loads, found.splitlines()) if not one["ok"]]


def _events(sidecar: Sidecar, many: int) -> None:
    sidecar.wait(lambda: len(sidecar.rows("events")) >= many, f"{many} events")


def _letters(sidecar: Sidecar, many: int) -> list[dict[str, Any]]:
    sidecar.wait(lambda: len(sidecar.rows("dlq", "list")) >= many, f"{many} dead letters")
    return sidecar.rows("dlq", "list")


def _settled(sidecar: Sidecar) -> bool:
    return "returned" in {one["state"] for one in sidecar.rows("dlq", "list")}


@pytest.fixture
def of_kafka(kafka) -> tuple[str, str, str, list[list[str]], dict[str, Any]]:
    user, service, topic = unique("reader"), unique("shop"), create_topic(kafka.bootstrap_servers, unique("orders"))
    scram_user(kafka.bootstrap_servers, user, "SCRAM-SHA-512")
    sasl = {"mechanism": "SCRAM-SHA-512", "username": user, "password": PASSWORD}
    source = {"bootstrap_servers": kafka.address("SASL"), "topics": [topic], "start": "earliest", "sasl": sasl}
    return kafka.bootstrap_servers, service, topic, steps("Kafka", topic, service, user), {"kafka": source}


@pytest.mark.kafka
def test_kafka_step_by_step(of_kafka, tmp_path):
    servers, service, topic, (observe, letters, replays, more), sources = of_kafka
    for line in observe:
        _grant_kafka(servers, line)
    produce(servers, topic, [json.dumps(GOOD).encode(), json.dumps(BAD).encode()])
    with _sidecar(tmp_path, service, sources, dead_letters={"enabled": False}) as sidecar:
        assert _failed(sidecar, 0) == []
        _events(sidecar, 2)
    sidecar = _sidecar(tmp_path, service, sources)
    missing = _failed(sidecar, 1)
    assert [one["what"] for one in missing] == [
        f"sources.kafka: create {topic}.dlt",
        "sources.kafka: settle dead letters in transactions",
    ]
    for line in letters:
        _grant_kafka(servers, line)
    produce(servers, topic, [json.dumps(BAD).encode()])
    with sidecar:
        assert _failed(sidecar, 0) == []
        (letter,) = _letters(sidecar, 1)
        refused = sidecar.cli("dlq", "replay", letter["id"], "--yes", code=1)
        assert "OrderPlaced" not in refused
        for line in replays:
            _grant_kafka(servers, line)
        sidecar.cli("dlq", "replay", letter["id"], "--yes", "--again", "--detach")
        sidecar.wait(lambda: _settled(sidecar), "the letter to come back, for it is still bad")
        for line in more:
            _grant_kafka(servers, line)
        sidecar.rows("groups")


@pytest.mark.valkey
def test_redis_step_by_step(valkey, tmp_path):
    user, service, stream = unique("reader"), unique("shop"), unique("orders")
    observe, letters, replays, more = steps("Redis and Valkey", stream, service, user)
    url = valkey.url.replace("redis://", f"redis://{user}:{PASSWORD}@")
    sources = {"redis": {"url": url, "streams": [stream], "start": "earliest"}}
    with redis.Redis.from_url(valkey.url) as client:

        def grant(lines: list[str]) -> None:
            for line in lines:
                client.execute_command(*line.split())

        grant(observe)
        for event in (GOOD, BAD):
            client.xadd(stream, {"payload": json.dumps(event)})
        with _sidecar(tmp_path, service, sources, dead_letters={"enabled": False}) as sidecar:
            assert _failed(sidecar, 0) == []
            _events(sidecar, 2)
        assert client.xlen(stream) == 2
        sidecar = _sidecar(tmp_path, service, sources)
        assert [one["what"] for one in _failed(sidecar, 1)] == [f"sources.redis: write to {stream}.dlt"]
        grant(letters)
        client.xadd(stream, {"payload": json.dumps(BAD)})
        with sidecar:
            assert _failed(sidecar, 0) == []
            (letter,) = _letters(sidecar, 1)
            sidecar.cli("dlq", "replay", letter["id"], "--yes", code=1)
            grant(replays)
            sidecar.cli("dlq", "replay", letter["id"], "--yes", "--again", "--detach")
            sidecar.wait(lambda: _settled(sidecar), "the letter to come back, for it is still bad")
            grant(more)
            assert _failed(sidecar, 0) == []
            assert "NOPERM" not in sidecar.log
