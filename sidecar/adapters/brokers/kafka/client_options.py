"""Options of aiokafka's client, built from `sources.kafka`: addresses, TLS, SASL and the options of `client`."""

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

from sidecar.config.kafka_client_options import CODEC_NAMES, client_option_mistakes
from sidecar.config.schema import KafkaConfig, SaslConfig, TlsConfig
from sidecar.domain.errors import ConfigError, Mistake

_CONNECTION_OPTIONS = (
    "client_id",
    "request_timeout_ms",
    "retry_backoff_ms",
    "metadata_max_age_ms",
    "connections_max_idle_ms",
)
"""Options that aiokafka's client takes; `KafkaTuning` has the others."""
CODECS = {name: number for number, name in enumerate(CODEC_NAMES, 1)}


class KafkaTuning(Struct, frozen=True):
    """Options of `sources.kafka.client` that do not concern the connection."""

    fetch_max_wait_ms: int = 250
    fetch_max_bytes: int = 16 << 20
    fetch_min_bytes: int = 1
    max_partition_fetch_bytes: int = 1 << 20
    check_crcs: bool = True
    session_timeout_ms: int = 10_000
    heartbeat_interval_ms: int = 3_000
    rebalance_timeout_ms: int | None = None
    group_instance_id: str | None = None
    """Static member id (KIP-345): a member that restarts within the session timeout gets its partitions back without a
    rebalance."""
    max_poll_interval_ms: int | None = None
    """Longest time between two polls; None: no limit, the member stays in the group however long a batch takes."""
    client_rack: str = ""
    transaction_timeout_ms: int = 30_000
    max_batch_size: int = 512 << 10
    max_request_size: int = 64 << 20
    linger_ms: int = 0
    compression_type: str | None = None
    retry_backoff_ms: int = 100
    request_timeout_ms: int = 30_000


class KafkaConnector:
    """Factory of clients of one cluster.

    Raises ConfigError if `client` holds an option that cannot be set, or `tls` names a file that cannot be read."""

    def __init__(self, config: KafkaConfig) -> None:
        options = _verify_options(config.client)
        self.options = KafkaTuning(**{name: options[name] for name in KafkaTuning.__struct_fields__ if name in options})
        self.servers = [part.strip() for part in config.bootstrap_servers.split(",") if part.strip()]
        self._arguments: dict[str, Any] = {
            "bootstrap_servers": self.servers,
            "client_id": "tracecar",
            "request_timeout_ms": self.options.request_timeout_ms,
            "retry_backoff_ms": self.options.retry_backoff_ms,
            "metadata_max_age_ms": 10_000,
            **{name: value for name, value in options.items() if name in _CONNECTION_OPTIONS},
            "security_protocol": ("SASL_" if config.sasl else "") + _transport(config),
        }
        if config.tls is not None:
            self._arguments["ssl_context"] = _tls(config.tls)
        if config.sasl is not None:
            self._arguments.update(_sasl(config.sasl))

    def client(self) -> AIOKafkaClient:
        """Build a client, not yet started. Needs a running event loop."""
        return AIOKafkaClient(**self._arguments)

    async def probe(self, host: str, port: int) -> None:
        """Connect to one server, authenticate, and disconnect. Raises aiokafka's errors and OSError."""
        left_out = ("bootstrap_servers", "metadata_max_age_ms", "retry_backoff_ms", "connections_max_idle_ms")
        arguments = {name: value for name, value in self._arguments.items() if name not in left_out}
        (await create_conn(host, port, **arguments)).close()


class OAuthTokenProvider(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka is untyped
    """Bearer tokens by the client credentials grant (RFC 6749, section 4.4), renewed before they expire."""

    def __init__(self, sasl: SaslConfig) -> None:
        self._sasl = sasl
        self._token = ""
        self._until = 0.0

    async def token(self) -> str:
        """Return the current token. Raises aiokafka's AuthenticationFailedError if the endpoint gives none."""
        import httpx2

        if time.monotonic() < self._until:
            return self._token
        form = {"grant_type": "client_credentials", **({"scope": self._sasl.scope} if self._sasl.scope else {})}
        credentials = (self._sasl.client_id or "", self._sasl.client_secret or "")
        endpoint = self._sasl.token_endpoint or ""
        try:
            async with httpx2.AsyncClient(timeout=10) as client:
                answer = await client.post(endpoint, data=form, auth=credentials)
            grant = answer.raise_for_status().json()
            self._token, lifetime = str(grant["access_token"]), float(grant.get("expires_in", 300))
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, KeyError, TypeError) as error:
            raise AuthenticationFailedError(f"{endpoint} returned no token: {error!r}") from error
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
        files = f"{error} ({tls.ca}, {tls.cert}, {tls.key})"
        raise ConfigError([Mistake("sources.kafka.tls", "PEM files that can be read", files)]) from error
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


def _verify_options(client: Mapping[str, Any]) -> dict[str, Any]:
    mistakes = list(client_option_mistakes(client))
    if mistakes:
        raise ConfigError(mistakes)
    return dict(client)
