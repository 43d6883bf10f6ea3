"""From `sources.kafka` to options of aiokafka's client: addresses, TLS, SASL, and what `client` passes through."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from typing import Any

from aiokafka.abc import AbstractTokenProvider
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import create_conn
from aiokafka.errors import AuthenticationFailedError
from msgspec import Struct

from sidecar.config.schema import KafkaConfig, SaslConfig, TlsConfig
from sidecar.domain.errors import ConfigError, Mistake

_CONNECTION = {
    "client_id": str,
    "request_timeout_ms": int,
    "retry_backoff_ms": int,
    "metadata_max_age_ms": int,
    "connections_max_idle_ms": int,
}
_READING = {
    "fetch_max_wait_ms": int,
    "fetch_max_bytes": int,
    "fetch_min_bytes": int,
    "max_partition_fetch_bytes": int,
    "check_crcs": bool,
    "session_timeout_ms": int,
    "heartbeat_interval_ms": int,
    "rebalance_timeout_ms": int,
    "group_instance_id": str,
}
_WRITING = {"transaction_timeout_ms": int, "max_batch_size": int, "compression_type": str}
PASSED: Mapping[str, type] = {**_CONNECTION, **_READING, **_WRITING}
CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}

_OURS = {
    "bootstrap_servers": "set sources.kafka.bootstrap_servers",
    "group_id": "set sources.kafka.group_id",
    "auto_offset_reset": "set sources.kafka.start",
    "security_protocol": "set sources.kafka.tls or sources.kafka.sasl",
    "ssl_context": "set sources.kafka.tls",
    "sasl_mechanism": "set sources.kafka.sasl",
    "sasl_plain_username": "set sources.kafka.sasl",
    "sasl_plain_password": "set sources.kafka.sasl",
    "sasl_oauth_token_provider": "set sources.kafka.sasl",
    "enable_auto_commit": "offsets move only when a batch is committed",
    "auto_commit_interval_ms": "offsets move only when a batch is committed",
    "isolation_level": "reading is always read_committed",
    "acks": "what is written is always written to all in-sync replicas",
    "enable_idempotence": "writing is always idempotent",
    "transactional_id": "it is made of the group, the topic and the partition",
    "partition_assignment_strategy": "all members must have the same",
    "max_poll_records": "batches have a size of their own",
    "max_poll_interval_ms": "a partition that waits stays with its member",
}


class KafkaTuning(Struct, frozen=True):
    """What of `client` is not for the connection."""

    fetch_max_wait_ms: int = 250
    fetch_max_bytes: int = 16 << 20
    fetch_min_bytes: int = 1
    max_partition_fetch_bytes: int = 1 << 20
    check_crcs: bool = True
    session_timeout_ms: int = 10_000
    heartbeat_interval_ms: int = 3_000
    rebalance_timeout_ms: int | None = None
    group_instance_id: str | None = None
    """A name that outlives restarts (KIP-345): whoever comes back with it within the session gets its partitions back,
    and nobody else's move."""
    transaction_timeout_ms: int = 30_000
    max_batch_size: int = 512 << 10
    compression_type: str | None = None
    retry_backoff_ms: int = 100
    request_timeout_ms: int = 30_000


class KafkaConnector:
    """How to reach a cluster: makes clients that are not started yet.

    Raises ConfigError where `client` holds an option that is not passed through, or `tls` names a file that cannot be
    read."""

    def __init__(self, config: KafkaConfig) -> None:
        passed = _passed(config.client)
        self.options = KafkaTuning(**{name: passed[name] for name in KafkaTuning.__struct_fields__ if name in passed})
        self.servers = [part.strip() for part in config.bootstrap_servers.split(",") if part.strip()]
        self._arguments: dict[str, Any] = {
            "bootstrap_servers": self.servers,
            "client_id": "tracecar",
            "request_timeout_ms": self.options.request_timeout_ms,
            "retry_backoff_ms": self.options.retry_backoff_ms,
            "metadata_max_age_ms": 10_000,
            **{name: value for name, value in passed.items() if name in _CONNECTION},
            "security_protocol": ("SASL_" if config.sasl else "") + _transport(config),
        }
        if config.tls is not None:
            self._arguments["ssl_context"] = _tls(config.tls)
        if config.sasl is not None:
            self._arguments.update(_sasl(config.sasl))

    def client(self) -> AIOKafkaClient:
        """A client that is not started yet. Needs a running event loop."""
        return AIOKafkaClient(**self._arguments)

    async def probe(self, host: str, port: int) -> None:
        """Connect to one server and authenticate, and close again. Raises what aiokafka or the network raises."""
        left_out = ("bootstrap_servers", "metadata_max_age_ms", "retry_backoff_ms", "connections_max_idle_ms")
        arguments = {name: value for name, value in self._arguments.items() if name not in left_out}
        (await create_conn(host, port, **arguments)).close()


class OAuthTokenProvider(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka is untyped
    """Bearer tokens by the client credentials grant (RFC 6749, section 4.4), asked for anew before they end."""

    def __init__(self, sasl: SaslConfig) -> None:
        self._sasl = sasl
        self._token = ""
        self._until = 0.0

    async def token(self) -> str:
        """The token to show. Raises aiokafka's AuthenticationFailedError where the endpoint gives none."""
        import httpx2

        if time.monotonic() < self._until:
            return self._token
        form = {"grant_type": "client_credentials", **({"scope": self._sasl.scope} if self._sasl.scope else {})}
        credentials = (self._sasl.client_id or "", self._sasl.client_secret or "")
        endpoint = self._sasl.token_endpoint or ""
        try:
            async with httpx2.AsyncClient(timeout=10) as client:
                answer = await client.post(endpoint, data=form, auth=credentials)
            given = answer.raise_for_status().json()
            self._token, lifetime = str(given["access_token"]), float(given.get("expires_in", 300))
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, KeyError, TypeError) as error:
            raise AuthenticationFailedError(f"{endpoint} gave no token: {error!r}") from error
        self._until = time.monotonic() + lifetime * 0.8
        return self._token


def _transport(config: KafkaConfig) -> str:
    if config.tls is not None:
        return "SSL"
    return "PLAINTEXT"


def _tls(tls: TlsConfig) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        if tls.cert is not None:
            context.load_cert_chain(tls.cert, tls.key)
    except (OSError, ssl.SSLError) as error:
        found = f"{error} ({tls.ca}, {tls.cert}, {tls.key})"
        raise ConfigError([Mistake("sources.kafka.tls", "PEM files that can be read", found)]) from error
    context.check_hostname = tls.check_hostname
    return context


def _sasl(sasl: SaslConfig) -> dict[str, Any]:
    if sasl.mechanism == "OAUTHBEARER":
        _need(sasl, "token_endpoint", "client_id", "client_secret")
        return {"sasl_mechanism": sasl.mechanism, "sasl_oauth_token_provider": OAuthTokenProvider(sasl)}
    _need(sasl, "username", "password")
    return {
        "sasl_mechanism": sasl.mechanism,
        "sasl_plain_username": sasl.username,
        "sasl_plain_password": sasl.password,
    }


def _need(sasl: SaslConfig, *names: str) -> None:
    missing = [
        Mistake(f"sources.kafka.sasl.{name}", f"a value, for {sasl.mechanism}", "nothing")
        for name in names
        if not getattr(sasl, name)
    ]
    if missing:
        raise ConfigError(missing)


def _passed(client: Mapping[str, Any]) -> dict[str, Any]:
    mistakes = []
    for name, value in client.items():
        path = f"sources.kafka.client.{name}"
        if name in _OURS:
            mistakes.append(Mistake(path, f"not to be set here: {_OURS[name]}", "a value"))
        elif name not in PASSED:
            mistakes.append(Mistake(path, f"one of {', '.join(sorted(PASSED))}", repr(name)))
        elif type(value) is not PASSED[name]:
            mistakes.append(Mistake(path, PASSED[name].__name__, repr(value)))
        elif name == "compression_type" and value not in CODECS:
            mistakes.append(Mistake(path, f"one of {', '.join(CODECS)}", repr(value)))
    if mistakes:
        raise ConfigError(mistakes)
    return dict(client)
