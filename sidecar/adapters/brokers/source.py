"""A broker as an adapter hands it to the composition root."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from sidecar.config.schema import Config, ExhaustedConfig
from sidecar.config.value_types import StartPosition
from sidecar.domain.broker_traits import BrokerTraits
from sidecar.domain.ports.broker import Broker
from sidecar.domain.stream_names import StreamNames


@dataclass(frozen=True)
class BrokerSource:
    """A broker and the names that belong to it."""

    broker: Broker
    group: str
    naming: StreamNames
    gate: Mapping[str, str] = field(default_factory=dict)
    """Target stream of valid records, by raw stream."""
    start: StartPosition = StartPosition("latest")  # noqa: RUF009  # a frozen value
    """Start of a group without offsets."""
    exhausted: Mapping[str, ExhaustedConfig] = field(default_factory=dict)
    """Limits, by group, after which entries that the group cannot process are dead-lettered."""
    server: tuple[str, int] | None = None
    """Address and port, if there is only one server."""


class BrokerAdapter(Protocol):
    """One kind of broker. Every adapter package has one, in a module that does not import the client library."""

    @property
    def traits(self) -> BrokerTraits: ...

    def build_source(self, config: Config, *, max_records: int) -> BrokerSource | None:
        """Build the broker that the configuration describes, with batches of at most `max_records`.

        Returns None if the configuration describes no broker of this kind. Imports the client library. Raises
        ConfigError.
        """


def single_server(address: str, default_port: int) -> tuple[str, int] | None:
    """Return host and port of an address such as `//127.0.0.1:9092`; None if it names several servers, or none."""
    parts = urlsplit(address)
    if not parts.hostname or "," in parts.netloc:
        return None
    return parts.hostname, parts.port or default_port
