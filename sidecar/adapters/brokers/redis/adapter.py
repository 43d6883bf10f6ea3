"""Adapter of Redis Streams for the composition root."""

from __future__ import annotations

from sidecar.adapters.brokers.redis.traits import REDIS_TRAITS
from sidecar.adapters.brokers.source import BrokerSource, single_server
from sidecar.config.schema import Config
from sidecar.domain.errors import ConfigError, Mistake

_SINGLE_SERVER = ("redis://", "rediss://")
"""URL schemes that name one server."""


class RedisAdapter:
    """`sidecar.adapters.brokers.source.BrokerAdapter` for Redis Streams."""

    traits = REDIS_TRAITS

    def build_source(self, config: Config, *, max_records: int) -> BrokerSource | None:
        redis = config.sources.redis
        if redis is None:
            return None
        from sidecar.adapters.brokers.redis.broker import RedisBroker

        group = redis.group or f"tracecar.{config.service}"
        if group in redis.exhausted:
            path = f"sources.redis.exhausted.{group}"
            raise ConfigError(
                [Mistake(path, "another group: entries that our own rejects are dead-lettered anyway", "our own")]
            )
        naming = config.stream_names(group)
        return BrokerSource(
            RedisBroker(redis, config.service, naming, max_records=max_records),
            group,
            naming,
            gate=redis.gate,
            start=redis.start,
            exhausted=redis.exhausted,
            server=single_server(redis.url, 6379) if redis.url.startswith(_SINGLE_SERVER) else None,
        )
