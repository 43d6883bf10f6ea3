"""Fixtures of the whole suite: the real servers, each started once for the session and only when a test asks."""

pytest_plugins = [
    "tests.servers.kafka",
    "tests.servers.valkey",
    "tests.servers.apicurio",
    "tests.servers.zipkin",
    "tests.servers.kubernetes",
    "tests.servers.images",
]
