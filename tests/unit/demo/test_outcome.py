"""Output of the demo: its summary with equal and different counts, and its screen within 80 columns, 24 lines."""

from __future__ import annotations

import socket
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from sidecar.config.loader import load
from sidecar.demo import main as demo
from sidecar.demo.api_view import SidecarCounts
from sidecar.demo.shop.expected_counts import ExpectedCounts
from sidecar.demo.shop.saga import STREAMS
from sidecar.demo.sidecar_process import SidecarProcess, render_configuration
from sidecar.demo.summary import format_lines, summarize


def ledger() -> ExpectedCounts:
    made = ExpectedCounts()
    made.orders, made.unlinked, made.duplicates = 9, 1, 2
    made.published.update({"orders": 60, "scans": 40})
    made.rejections.update({"schema.mismatch": 3, "decode.truncated": 1})
    return made


def counted(**changes: object) -> SidecarCounts:
    counts = SidecarCounts(100, 10, Counter({"schema.mismatch": 3, "decode.truncated": 1}), 4, 2, 0)
    for name, value in changes.items():
        setattr(counts, name, value)
    return counts


def test_counts_that_agree_make_the_contracts_summary() -> None:
    result = summarize(ledger(), counted(), 8.04, "redis")
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
    assert "that the shop itself counted" in format_lines(result)[-1]


def test_the_summary_for_a_person_fits_80_columns() -> None:
    made = ledger()
    codes = Counter({f"schema.code_number_{number}": 1000 + number for number in range(10)})
    result = summarize(made, counted(rejections=codes), 8, "redis")
    assert all(len(line) <= 80 for line in format_lines(result) if "the shop published" not in line)
    assert all(any(code in line for line in format_lines(result)) for code in codes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"events": 99}, "events: the shop published 100, the sidecar counted 99"),
        ({"flows": 11}, "flows: the shop published 10, the sidecar counted 11"),
        ({"dead_letters": 5}, "dead letters: the shop published 4, the sidecar counted 5"),
        ({"duplicates": 0}, "duplicates: the shop published 2, the sidecar counted 0"),
        (
            {"rejections": Counter({"schema.mismatch": 4})},
            "rejections schema.mismatch: the shop published 3, the sidecar counted 4",
        ),
    ],
)
def test_counts_that_differ_are_reported(changes: dict[str, object], sentence: str) -> None:
    result = summarize(ledger(), counted(**changes), 8, "kafka")
    assert sentence in result.mismatches
    assert "NOT" in "\n".join(format_lines(result))


def test_a_loss_in_the_shop_itself_is_reported() -> None:
    assert summarize(ledger(), counted(), 8, "redis", lost=True).mismatches


@pytest.mark.parametrize(
    ("broker", "address"), [("redis", "redis://127.0.0.1:6390/0"), ("kafka", "127.0.0.1:9092,127.0.0.1:9093")]
)
def test_the_sidecars_configuration_is_one_that_it_takes(broker: str, address: str, tmp_path: Path) -> None:
    file = tmp_path / "tracecar.yaml"
    file.write_text(render_configuration(broker, address, 4711, tmp_path))
    loaded = load(file, {"TRACECAR_TOKEN": "a-token"})
    source = loaded.sources.kafka or loaded.sources.redis
    assert source is not None
    assert source.start.kind == "earliest"
    assert tuple(getattr(source, "topics", ()) or getattr(source, "streams", ())) == STREAMS
    assert (loaded.api.port, loaded.api.token) == (4711, "a-token")


def test_the_command_line_finds_the_sidecar_of_a_dashboard_by_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRACECAR_TOKEN_FILE", str(tmp_path / "token"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setattr("sidecar.demo.sidecar_process.DEFAULT_PORT", port)
        elsewhere = SidecarProcess(tmp_path, "redis", "redis://127.0.0.1:1/0", prefer_default_port=True)
        assert (elsewhere.has_default_address, elsewhere.port == port) == (False, False)
        assert not (tmp_path / "token").exists()
    found = SidecarProcess(tmp_path, "redis", "redis://127.0.0.1:1/0", prefer_default_port=True)
    assert (found.has_default_address, found.port) == (True, port)
    assert found.token == (tmp_path / "token").read_text().strip()
    (tmp_path / "token").chmod(0o644)  # others may recognize it
    strange = SidecarProcess(tmp_path, "redis", "redis://127.0.0.1:1/0", prefer_default_port=True)
    assert (strange.has_default_address, strange.token == found.token) == (False, False)


def test_missing_programs_are_reported_with_their_installation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    assert demo.main(broker="kafka", headless=True, seconds=1, seed=1, json=False) == 2
    assert "pip install 'tracecar[demo]'" in capsys.readouterr().err
