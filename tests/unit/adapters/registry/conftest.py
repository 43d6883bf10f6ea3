"""Fixtures of the registry tests: scripted servers, closed after each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.scripted_registry import Scripted


@pytest.fixture
def serve() -> Iterator[Callable[..., Scripted]]:
    servers: list[Scripted] = []

    def start(*arguments: object) -> Scripted:
        servers.append(Scripted(*arguments))  # type: ignore[arg-type]  # an ssl.SSLContext, or nothing
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def server(serve: Callable[..., Scripted]) -> Scripted:
    return serve()
