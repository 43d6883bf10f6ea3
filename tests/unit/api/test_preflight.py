"""Results of `tracecar check` about listening addresses and the token file, which it does not change."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from sidecar.api.http.preflight import inspect
from sidecar.config.schema import ApiConfig, Config, HealthConfig, RedisConfig, SourcesConfig
from sidecar.domain.ports.broker import Finding
from tests.support.api import serving


def config(port: int = 0, token: str = "t", token_file: str = "unused", health: int | None = None) -> Config:
    return Config(
        service="shop",
        sources=SourcesConfig(redis=RedisConfig(url="redis://127.0.0.1", streams=["orders"])),
        api=ApiConfig(port=port, token=token, token_file=token_file),
        health=HealthConfig(port=health),
    )


def test_a_free_port_is_good() -> None:
    assert [one.ok for one in inspect(config(health=0))] == [True, True]


def test_a_port_in_use_is_reported_for_both_listeners() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))  # holds the port and does not answer
        port = other.getsockname()[1]
        for found in (inspect(config(port))[0], inspect(config(health=port))[1]):
            assert not found.ok
            assert ".port" in found.detail


def test_an_address_of_another_machine_is_reported() -> None:
    one = Config(
        service="shop",
        sources=SourcesConfig(redis=RedisConfig(url="redis://127.0.0.1", streams=["orders"])),
        api=ApiConfig(host="192.0.2.1", port=0, token="t"),
    )
    (found,) = inspect(one)
    assert not found.ok
    assert "api.host" in found.detail


async def test_a_sidecar_that_listens_there_already_is_no_mistake(tmp_path: Path) -> None:
    import asyncio

    async with serving(tmp_path / "token") as running:
        port = int(running.url.rsplit(":", 1)[1])
        (found,) = await asyncio.to_thread(inspect, config(port))
        assert found.ok
        assert "another sidecar" in found.detail


def _token(file: Path) -> Finding:
    return inspect(config(token="", token_file=str(file)))[1]


def test_a_token_file_that_would_be_made_is_not_made(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "token"
    assert _token(file).ok
    assert not file.parent.exists()


def test_an_unwritable_or_readable_token_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    assert not _token(tmp_path / "plain" / "token").ok
    file = tmp_path / "token"
    file.write_text("secret\n")
    file.chmod(0o644)
    assert not _token(file).ok
    assert "chmod 600" in _token(file).detail
    file.chmod(0o600)
    assert _token(file).ok
    if os.geteuid():
        (tmp_path / "shut").mkdir(mode=0o500)
        assert not _token(tmp_path / "shut" / "token").ok
