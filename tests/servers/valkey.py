"""A real Valkey for the session. Tests use streams of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sidecar.demo.embedded_valkey import EmbeddedValkey


@pytest.fixture(scope="session")
def valkey() -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey() as server:
        yield server
