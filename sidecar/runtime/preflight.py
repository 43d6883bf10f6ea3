"""`tracecar check`: tries every connection and permission that running needs, and changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

from sidecar.api.http import preflight as api_preflight
from sidecar.config.schema import Config
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.ports.broker import Finding
from sidecar.domain.ports.registry import Registry
from sidecar.domain.secrets import mask_url
from sidecar.runtime import wiring
from sidecar.runtime.telemetry_wiring import check_exporters

SERVER_TIMEOUT_S = 30.0


async def check(config: Config) -> AsyncIterator[Finding]:
    """Yield findings one by one. Raises ConfigError if the configuration names something that does not exist."""
    sources = wiring.build_sources(config)
    registry = wiring.build_registry(config)
    if config.dead_letters.enabled:
        for finding in _dead_letter_targets(sources):
            yield finding
    for finding in gates(sources):
        yield finding
    for source in sources:
        what = source.broker.traits.source_path
        try:
            async with asyncio.timeout(SERVER_TIMEOUT_S):
                findings = await source.broker.inspect()
        except TimeoutError:
            findings = [Finding(what, False, f"no answer within {SERVER_TIMEOUT_S:.0f} s: is the address right?")]
        for finding in findings:
            yield finding
    yield await _check_registry(config, registry)
    shared = wiring.build_shared_index(config)
    if shared is not None:
        for finding in await shared.inspect():
            yield finding
        await shared.close()
    for finding in await asyncio.to_thread(check_exporters, config):
        yield finding
    for finding in await asyncio.to_thread(api_preflight.inspect, config):
        yield finding


def _dead_letter_targets(sources: Iterable[wiring.BrokerSource]) -> Iterable[Finding]:
    """Name the dead-letter stream of each named stream."""
    for source in sources:
        path = source.broker.traits.streams_path
        for name in source.broker.named_streams:
            yield Finding(f"{path}: {name}", True, f"its dead letters go to {source.naming.dead_letter_stream(name)}")


def gates(sources: Iterable[wiring.BrokerSource]) -> Iterable[Finding]:
    """Warn about gates of new groups that start after the first record: earlier records are never passed on."""
    for source in sources:
        if source.gate and source.start.kind != "earliest":
            streams = ", ".join(source.gate)
            yield Finding(
                f"{source.broker.traits.source_path}.gate: start",
                True,
                f"a new group begins after the first record: earlier records in {streams} are not passed on; to pass "
                "them, set start: earliest",
            )


async def _check_registry(config: Config, registry: Registry | None) -> Finding:
    if registry is None:
        return Finding("registry", True, "none is configured: events are not checked against schemas")
    urls = config.registry.url
    where = config.registry.directory or (urls if isinstance(urls, str) else ", ".join(urls or ()))
    what = f"registry: {mask_url(where)}"
    try:
        async with asyncio.timeout(SERVER_TIMEOUT_S):
            subjects = await registry.subjects()
    except TimeoutError:
        return Finding(what, False, f"no answer within {SERVER_TIMEOUT_S:.0f} s: is the address right?")
    except Outage as error:
        return Finding(what, False, f"{error}; check registry.url and registry.tls, and that the registry is running")
    except Refused as error:
        return Finding(what, False, str(error))
    finally:
        await registry.close()
    if problems := registry.problems:
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        return Finding(what, False, f"{'; '.join(problems[:3])}{more}")
    return Finding(what, True, f"{len(subjects)} subjects")
