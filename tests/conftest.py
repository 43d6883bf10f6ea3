"""Fixtures of the whole suite: the real servers, each started once for the session and only when a test asks."""

from sidecar.adapters.brokers.memory.traits import MEMORY_TRAITS
from sidecar.domain.broker_traits import register_traits
from sidecar.runtime.wiring import register_brokers

register_brokers()
register_traits(MEMORY_TRAITS)

pytest_plugins = [
    "tests.servers.kafka",
    "tests.servers.valkey",
    "tests.servers.apicurio",
    "tests.servers.zipkin",
    "tests.servers.kubernetes",
    "tests.servers.images",
]
