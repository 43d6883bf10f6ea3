"""Setup of the whole suite: fixtures of real servers, settings of Hypothesis, and the order of parallel runs."""

from __future__ import annotations

import signal

import pytest
from hypothesis import HealthCheck, settings

from sidecar.adapters.brokers.memory.traits import MEMORY_TRAITS
from sidecar.domain.broker_traits import register_traits
from sidecar.runtime.wiring import register_brokers
from tests.servers.server_versions import select_servers

register_brokers()
register_traits(MEMORY_TRAITS)
select_servers()

# A failed assertion of a contract shows its values, as one of a test does.
pytest.register_assert_rewrite("tests.contracts", "tests.support")

# A busy machine makes any single example slow; only the outcome counts.
settings.register_profile("tracecar", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tracecar")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts background jobs with SIGINT ignored, which child processes inherit and Python then leaves alone.
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = [
    "tests.servers.kafka",
    "tests.servers.valkey",
    "tests.servers.apicurio",
    "tests.servers.zipkin",
    "tests.servers.kubernetes",
    "tests.servers.images",
    "tests.servers.s3",
]

SERVER_MARKS = ("kafka", "system", "valkey", "registry", "zipkin")
"""Marks of tests that need servers, those whose servers cost most first."""

MAX_ID_CHARACTERS = 80


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Shorten the ids of tests whose parameters are long texts."""
    if isinstance(val, str | bytes) and len(val) > MAX_ID_CHARACTERS:
        return f"{argname} of {len(val)}"
    return None


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests of one kind of server in one process of a parallel run, where they share the server."""
    for item in items:
        if item.get_closest_marker("xdist_group") is not None:
            continue
        for mark in SERVER_MARKS:
            if item.get_closest_marker(mark) is not None:
                item.add_marker(pytest.mark.xdist_group(mark))
                break
