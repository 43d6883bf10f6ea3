"""`tracecar check`: what running would need, tried without changing anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

from sidecar.api.http import preflight
from sidecar.config.schema import Config
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.ports.broker import Finding
from sidecar.domain.ports.registry import Registry
from sidecar.domain.secrets import mask_url
from sidecar.runtime import wiring

SECONDS = 30.0
"""How long one server may take to answer."""


async def check(config: Config) -> AsyncIterator[Finding]:
    """Findings as they are made. Raises ConfigError where the configuration asks for what there is not."""
    sources = wiring.sources(config)
    registry = wiring.registry(config)
    if config.dead_letters.enabled:
        for finding in _names(sources):
            yield finding
    for finding in gates(sources):
        yield finding
    for source in sources:
        what = source.broker.traits.source_path
        try:
            async with asyncio.timeout(SECONDS):
                findings = await source.broker.inspect()
        except TimeoutError:
            findings = [Finding(what, False, f"no answer within {SECONDS:.0f} s: is the address right?")]
        for finding in findings:
            yield finding
    yield await _registry(config, registry)
    shared = wiring.shared_index(config)
    if shared is not None:
        for finding in await shared.inspect():
            yield finding
        await shared.close()
    for finding in await asyncio.to_thread(wiring.try_exporters, config):
        yield finding
    for finding in await asyncio.to_thread(preflight.inspect, config):
        yield finding


def _names(sources: Iterable[wiring.BrokerSource]) -> Iterable[Finding]:
    """Where the dead letters of the streams that are named go."""
    for source in sources:
        path = source.broker.traits.streams_path
        for name in source.broker.named_streams:
            yield Finding(f"{path}: {name}", True, f"its dead letters go to {source.naming.dead_letter_stream(name)}")


def gates(sources: Iterable[wiring.BrokerSource]) -> Iterable[Finding]:
    """Warn about gates of new groups that begin after the first record: earlier records are never passed on."""
    for source in sources:
        if source.gate and source.start.kind != "earliest":
            streams = ", ".join(source.gate)
            yield Finding(
                f"{source.broker.traits.source_path}.gate: start",
                True,
                f"a new group begins after the first record: earlier records in {streams} are not passed on; to pass "
                "them, set start: earliest",
            )


async def _registry(config: Config, registry: Registry | None) -> Finding:
    if registry is None:
        return Finding("registry", True, "none is configured: events are shown unchecked")
    urls = config.registry.url
    where = config.registry.directory or (urls if isinstance(urls, str) else ", ".join(urls or ()))
    what = f"registry: {mask_url(where)}"
    try:
        async with asyncio.timeout(SECONDS):
            subjects = await registry.subjects()
    except TimeoutError:
        return Finding(what, False, f"no answer within {SECONDS:.0f} s: is the address right?")
    except Outage as error:
        return Finding(what, False, f"{error}; see registry.url and registry.tls, and whether it runs")
    except Refused as error:
        return Finding(what, False, str(error))
    finally:
        await registry.close()
    if problems := registry.problems:
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        return Finding(what, False, f"{'; '.join(problems[:3])}{more}")
    return Finding(what, True, f"{len(subjects)} subjects")
