"""Builds the export of traces, metrics and logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sidecar.adapters.brokers.source import BrokerSource
from sidecar.config.schema import Config
from sidecar.domain.ports.broker import Finding
from sidecar.domain.ports.metrics import InstrumentSource
from sidecar.domain.redaction import Redactor

if TYPE_CHECKING:
    from exporters.telemetry import Telemetry, TelemetrySession


def build_telemetry(config: Config, sources: Sequence[BrokerSource], redactor: Redactor) -> Telemetry:
    """Build the export of traces, metrics and logs. Raises ConfigError."""
    from exporters.telemetry import Telemetry
    from exporters.tracing.span_mapper import DeadLetterTarget

    targets = {
        source.broker.system: DeadLetterTarget(
            source.group, source.naming.dead_letter_stream if config.dead_letters.enabled else None
        )
        for source in sources
    }
    servers = {source.broker.system: source.server for source in sources if source.server is not None}
    return Telemetry(config, targets, servers, redactor)


def build_telemetry_session(telemetry: Telemetry, sources: Sequence[InstrumentSource]) -> TelemetrySession:
    """Build the telemetry that a sidecar starts: with the metrics of these sources."""
    from exporters.telemetry import TelemetrySession

    return TelemetrySession(telemetry, sources)


def check_exporters(config: Config) -> list[Finding]:
    """Check that telemetry reaches its backends. Blocks. Raises ConfigError."""
    from exporters.preflight import check_backends

    return list(check_backends(config))
