"""The tests of the chart need programs that Go builds."""

from __future__ import annotations

import pytest

from tests.servers import kubernetes_tools


@pytest.fixture(scope="session", autouse=True)
def _programs() -> None:
    reason = kubernetes_tools.missing()
    if reason is not None:
        pytest.skip(reason)
