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
        for finding in _names(config, sources):
            yield finding
    for finding in gates(config):
        yield finding
    for source in sources:
        what = f"sources.{source.broker.system}"
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


def _names(config: Config, sources: Iterable[wiring.BrokerSource]) -> Iterable[Finding]:
    """Where the dead letters of the streams that are named go."""
    kafka, redis = config.sources.kafka, config.sources.redis
    for source in sources:
        if source.broker.system == "kafka":
            path, names = "sources.kafka.topics", [] if kafka is None else kafka.topics
        else:
            path, names = "sources.redis.streams", [] if redis is None else redis.streams
        for name in names:
            if name.startswith("^") or set("*?[") & set(name):
                continue
            yield Finding(f"{path}: {name}", True, f"its dead letters go to {source.naming.dead_letter_stream(name)}")


def gates(config: Config) -> Iterable[Finding]:
    """Where a gate that is new begins: what lies before that never goes on."""
    for name, source in (("kafka", config.sources.kafka), ("redis", config.sources.redis)):
        if source is not None and source.gate and source.start.kind != "earliest":
            streams = ", ".join(source.gate)
            yield Finding(
                f"sources.{name}.gate: start",
                True,
                f"a group that is new begins later than the first record: what lies in {streams} before that does not "
                "go on; start: earliest lets it pass",
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
