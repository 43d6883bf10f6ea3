"""Fixtures of the chart tests. They need programs that Go builds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helm.charts import example
from tests.servers import kubernetes_tools


@pytest.fixture(scope="session", autouse=True)
def _programs() -> None:
    reason = kubernetes_tools.missing()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def umbrella(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example chart, with its dependencies in place."""
    return example(tmp_path_factory.mktemp("example") / "helm")
