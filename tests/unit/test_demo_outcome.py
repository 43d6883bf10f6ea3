"""What the demo says: its summary where the counts agree and where not, its screen within 80 columns and 24 lines."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from sidecar.api import models
from sidecar.api.client import Client
from sidecar.config_file import load
from sidecar.demo import main as demo
from sidecar.demo.beside import configuration
from sidecar.demo.screen import Facts, screen
from sidecar.demo.shop.ledger import Ledger
from sidecar.demo.shop.saga import STREAMS
from sidecar.demo.summary import lines, summary
from sidecar.demo.view import Counts, Watch


def ledger() -> Ledger:
    made = Ledger()
    made.orders, made.unlinked, made.duplicates = 9, 1, 2
    made.published.update({"orders": 60, "scans": 40})
    made.rejections.update({"schema.mismatch": 3, "decode.truncated": 1})
    return made


def counted(**changes: object) -> Counts:
    counts = Counts(100, 10, Counter({"schema.mismatch": 3, "decode.truncated": 1}), 4, 2, 0)
    for name, value in changes.items():
        setattr(counts, name, value)
    return counts


def test_counts_that_agree_make_the_contracts_summary() -> None:
    result = summary(ledger(), counted(), 8.04, "redis")
    assert result.mismatches == []
    assert msgspec.to_builtins(result) == {
        "events": 100,
        "flows": 10,
        "rejected": 4,
        "dead_letters": 4,
        "duplicates": 2,
        "replayed": 0,
        "seconds": 8.0,
        "broker": "redis",
        "orders": 9,
        "codes": {"decode.truncated": 1, "schema.mismatch": 3},
        "mismatches": [],
    }
    assert "what the shop itself knows" in lines(result)[-1]


def test_the_summary_for_a_person_fits_80_columns() -> None:
    made = ledger()
    codes = Counter({f"schema.code_number_{number}": 1000 + number for number in range(10)})
    result = summary(made, counted(rejections=codes), 8, "redis")
    assert all(len(line) <= 80 for line in lines(result) if "the shop knows of" not in line)
    assert all(any(code in line for line in lines(result)) for code in codes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"events": 99}, "events: the shop knows of 100, the sidecar found 99"),
        ({"flows": 11}, "flows: the shop knows of 10, the sidecar found 11"),
        ({"dead_letters": 5}, "dead letters: the shop knows of 4, the sidecar found 5"),
        ({"duplicates": 0}, "duplicates: the shop knows of 2, the sidecar found 0"),
        (
            {"rejections": Counter({"schema.mismatch": 4})},
            "rejections schema.mismatch: the shop knows of 3, the sidecar found 4",
        ),
    ],
)
def test_counts_that_do_not_agree_are_said(changes: dict[str, object], sentence: str) -> None:
    result = summary(ledger(), counted(**changes), 8, "kafka")
    assert sentence in result.mismatches
    assert "NOT" in "\n".join(lines(result))


def test_a_shop_that_lost_something_itself_is_said() -> None:
    assert summary(ledger(), counted(), 8, "redis", lost=True).mismatches


@pytest.mark.parametrize(
    ("broker", "address"), [("redis", "redis://127.0.0.1:6390/0"), ("kafka", "127.0.0.1:9092,127.0.0.1:9093")]
)
def test_the_sidecars_configuration_is_one_that_it_takes(broker: str, address: str, tmp_path: Path) -> None:
    file = tmp_path / "tracecar.yaml"
    file.write_text(configuration(broker, address, 4711))
    loaded = load(file, {"TRACECAR_TOKEN": "a-token"})
    source = loaded.sources.kafka or loaded.sources.redis
    assert source is not None
    assert source.start.kind == "earliest"
    assert tuple(getattr(source, "topics", ()) or getattr(source, "streams", ())) == STREAMS
    assert (loaded.api.port, loaded.api.token) == (4711, "a-token")


def test_what_is_missing_is_said_with_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    assert demo.main(broker="kafka", headless=True, seconds=1, seed=1, json=False) == 2
    assert "pip install 'tracecar[demo]'" in capsys.readouterr().err


async def test_the_screen_fits_80_columns_and_24_lines_however_much_there_is_to_say() -> None:
    async with Client("http://127.0.0.1:1", "token") as client:
        watch = Watch(client)
        assert len(rendered(watch)) <= 24
        watch.status = status()
        for number in range(40):
            event = rejected(number)
            watch.rejected[event.position] = event
        said = rendered(watch)
    assert len(said) <= 23
    assert all(len(line) <= 80 for line in said)
    assert "export TRACECAR_URL=http://127.0.0.1:8425 TRACECAR_TOKEN=0123456789abcdef" in said
    assert not any("\x1b" in line for line in said)
    assert sum("code." in line for line in said) == 8


def rendered(watch: Watch) -> list[str]:
    facts = Facts(
        broker="kafka",
        seed=123456,
        seconds=3599,
        orders=123_456,
        remaining=None,
        commands=(
            "export TRACECAR_URL=http://127.0.0.1:8425 TRACECAR_TOKEN=0123456789abcdef",
            ".venv/bin/tracecar flow order-123456; .venv/bin/tracecar dlq list",
        ),
    )
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(screen(facts, watch))
    return [line.rstrip() for line in captured.get().rstrip("\n").split("\n")]


def status() -> models.ServiceStatus:
    streams = [
        models.StreamStatus(
            stream=name,
            partitions=3,
            settled_here=3,
            lag=None if name == "stock" else 12_345,
            events=1_234_567,
            rejected=12_345,
            rate=float(10 * number),
            held=models.Held(since=None, reason="too much is rejected") if name == "scans" else None,
        )
        for number, name in enumerate(STREAMS)
    ]
    coverage = models.Coverage(events=200_000, evicted=1_000_000, since=None, partitions=[], filling=False)
    return models.ServiceStatus(
        service="shop",
        version="1",
        ready=True,
        filling=False,
        streams=streams,
        index=models.IndexStatus(events=200_000, max_events=200_000, evicted=1_000_000, coverage=coverage),
        exporters=[],
        registry=models.RegistryStatus(reachable=True, schemas=9),
        uptime_s=1.0,
    )


def rejected(number: int) -> models.Event:
    fields: dict[str, object] = {one.name: None for one in msgspec.structs.fields(models.Event) if one.required}
    fields |= {
        "position": f"kafka://scans/0/{number}",
        "stream": "scans",
        "partition": 0,
        "status": "rejected",
        "changed": False,
        "rejection": {
            "stage": "decode",
            "code": f"code.{number % 12}",
            "message": "a\x1b[31mlong\nmessage " * 20,
            "path": None,
        },
    }
    return msgspec.convert(fields, models.Event)
