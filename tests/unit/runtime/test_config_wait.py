"""A sidecar that waits for a valid configuration."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from sidecar.domain.errors import ConfigError, Mistake, TracecarError
from sidecar.runtime import config_wait
from tests.support.ports import free_port

VALID = "service: shop\nsources: {redis: {url: redis://127.0.0.1:1, streams: [orders]}}\n"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_wait, "RELOAD_INTERVAL_S", 0.02)


def _waiting(
    file: Path, stopped: threading.Event, errors: list[TracecarError], results: list[object]
) -> threading.Thread:
    def wait() -> None:
        results.append(config_wait.wait_for_config(file, stopped=stopped, on_invalid=errors.append))

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def _status(url: str) -> int:
    while True:
        try:
            return urllib.request.urlopen(url, timeout=5).status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:  # the port is not open yet
            continue


def test_an_invalid_file_is_reported_and_answered_with_503_until_it_is_valid(quick: None, tmp_path: Path) -> None:
    port, file = free_port(), tmp_path / "tracecar.yaml"
    file.write_text(f"servic: shop\nhealth: {{port: {port}}}\n")
    errors: list[TracecarError] = []
    results: list[object] = []
    thread = _waiting(file, threading.Event(), errors, results)
    try:
        codes = [_status(f"http://127.0.0.1:{port}{path}") for path in ("/healthz", "/readyz")]
    finally:
        file.write_text(VALID)
        thread.join(timeout=60)
    assert codes == [503, 503]
    assert results[0].service == "shop"
    assert len(errors) == 1, "the same mistakes are reported once"


def test_a_missing_file_is_waited_for(quick: None, tmp_path: Path) -> None:
    file = tmp_path / "later.yaml"
    errors: list[TracecarError] = []
    results: list[object] = []
    thread = _waiting(file, threading.Event(), errors, results)
    while not errors:
        pass
    file.write_text(VALID)
    thread.join(timeout=60)
    assert results[0].service == "shop"


def test_waiting_can_be_stopped(quick: None, tmp_path: Path) -> None:
    stopped = threading.Event()
    results: list[object] = []
    thread = _waiting(tmp_path / "missing.yaml", stopped, [], results)
    stopped.set()
    thread.join(timeout=60)
    assert results == [None]


def test_a_file_that_loads_but_cannot_be_run_with_is_reported_before_it_is_tried_again(
    quick: None, tmp_path: Path
) -> None:
    file = tmp_path / "tracecar.yaml"
    file.write_text(VALID)
    rejected = ConfigError([Mistake("api.token_file", "a file that can be written", "a directory")])
    errors: list[TracecarError] = []
    loaded = config_wait.wait_for_config(file, stopped=threading.Event(), on_invalid=errors.append, rejected=rejected)
    assert errors == [rejected]
    assert loaded is not None
