"""Asking a registry over HTTP: several addresses with failover, bounded answers, and errors that say what to do.

2xx                                  the answer
404 or 422 with an `error_code`      an answer too: there is no such thing
401, 403 and other 4xx               Refused
408, 429, 5xx, no answer, garbage    the next address; Outage after the last, with the longest Retry-After
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TypeVar

import httpx2
import msgspec

from sidecar.config.schema import RegistryConfig, TlsConfig
from sidecar.domain.errors import ConfigError, Mistake, Outage, Refused

T = TypeVar("T")

ANSWER_SECONDS = 10.0
"""For one whole answer, however slowly it drips."""
MAX_ANSWER_BYTES = 32 << 20
_MAX_RETRY_AFTER = 3_600.0
_TRY_AGAIN = frozenset({408, 425, 429})


class _RegistryErrorBody(msgspec.Struct):
    """The body of a refusal, in Confluent's form."""

    error_code: int
    message: str = ""


class NotARegistryAnswer(Exception):
    """A 404 that does not come from a registry's API: the path, or the server, is another."""


class RegistryHttpClient:
    """GET requests to one registry, wherever it is to be reached."""

    def __init__(self, addresses: Sequence[str], settings: RegistryConfig) -> None:
        """`addresses`: base URLs, tried in turn, beginning with the one that answered last. Raises ConfigError where a
        certificate cannot be read."""
        self.addresses = [address.rstrip("/") for address in addresses]
        self._first = 0
        headers = {"Accept": "application/vnd.schemaregistry.v1+json, application/json"}
        if settings.token:
            headers["Authorization"] = f"Bearer {settings.token}"
        basic = settings.basic
        secure = any(address.lower().startswith("https:") for address in self.addresses)
        self._client = httpx2.AsyncClient(
            auth=httpx2.BasicAuth(basic.username, basic.password) if basic else None,
            headers=headers,
            # A context without certificates where none is needed: loading the system's costs time and memory.
            verify=_tls(settings.tls or TlsConfig()) if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            timeout=httpx2.Timeout(5.0, connect=3.0),
            limits=httpx2.Limits(max_connections=20, max_keepalive_connections=5, keepalive_expiry=60.0),
            follow_redirects=True,
        )

    async def ask(self, path: str, answer: type[T]) -> T | None:
        """The answer to `GET {address}{path}`; None where the registry says that there is no such thing. Raises Outage,
        Refused, and NotAnAnswer."""
        outages: list[Outage] = []
        for turn in range(len(self.addresses)):
            number = (self._first + turn) % len(self.addresses)
            try:
                found = await self._ask(self.addresses[number] + path, answer)
            except Outage as outage:
                outages.append(outage)
                continue
            self._first = number
            return found
        waits = [outage.retry_after for outage in outages if outage.retry_after is not None]
        raise Outage("; ".join(map(str, outages)), max(waits, default=None))

    async def close(self) -> None:
        await self._client.aclose()

    async def _ask(self, url: str, answer: type[T]) -> T | None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                status, headers, body = await self._get(url)
        except TimeoutError:
            raise Outage(f"schema registry {_shown(url)} did not answer within {ANSWER_SECONDS:.0f} s") from None
        except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL, OSError) as error:
            # OSError: httpx2 lets through what TLS says after its handshake, such as that we need a certificate.
            what = str(error) or type(error).__name__
            raise Outage(f"schema registry {_shown(url)} cannot be asked: {what}") from None
        if 200 <= status < 300:
            return _decoded(url, body, answer)
        if status in (401, 403):
            raise Refused(
                f"schema registry {_shown(url)} refuses our credentials ({status}); check registry.basic or .token"
            )
        if status in _TRY_AGAIN or status >= 500:
            raise Outage(f"schema registry {_shown(url)} answered {status}", _retry_after(headers))
        if status not in (404, 422):
            raise Refused(f"schema registry {_shown(url)} answered {status}: {_excerpt(body)}")
        try:
            msgspec.json.decode(body, type=_RegistryErrorBody)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise NotARegistryAnswer(
                f"{_shown(url)} answered {status}, and not as a schema registry does: {_excerpt(body)}; "
                "check the path in registry.url (Apicurio's ends with /apis/ccompat/v7)"
            ) from None
        return None

    async def _get(self, url: str) -> tuple[int, httpx2.Headers, bytes]:
        async with self._client.stream("GET", url) as response:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise Outage(f"schema registry {_shown(url)}: its answer is longer than {MAX_ANSWER_BYTES} bytes")
            return response.status_code, response.headers, bytes(body)


def _decoded(url: str, body: bytes, answer: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Outage(f"schema registry {_shown(url)} answered something else: {error}; {_excerpt(body)}") from None


def _tls(tls: TlsConfig) -> ssl.SSLContext:
    """The system's trust, or the given CA's; with the client's certificate where there is one."""
    context = ssl.create_default_context()
    context.check_hostname = tls.check_hostname
    mistakes = []
    if tls.ca:
        try:
            context = ssl.create_default_context(cafile=Path(tls.ca).expanduser())
            context.check_hostname = tls.check_hostname
        except (OSError, ssl.SSLError) as error:
            mistakes.append(Mistake("registry.tls.ca", "a file of certificates (PEM)", f"{tls.ca}: {error}"))
    if tls.cert:
        try:
            context.load_cert_chain(Path(tls.cert).expanduser(), Path(tls.key).expanduser() if tls.key else None)
        except (OSError, ssl.SSLError) as error:
            mistakes.append(Mistake("registry.tls.cert", "a certificate with its key (PEM)", f"{tls.cert}: {error}"))
    if mistakes:
        raise ConfigError(mistakes)
    return context


def _retry_after(headers: httpx2.Headers) -> float | None:
    """Seconds, from a number or a date (RFC 9110, 10.2.3)."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), _MAX_RETRY_AFTER)
    try:
        return min(max(0.0, parsedate_to_datetime(text).timestamp() - time.time()), _MAX_RETRY_AFTER)
    except (ValueError, OverflowError):
        return None


def _shown(url: str) -> str:
    """An address without the credentials it may carry."""
    try:
        return str(httpx2.URL(url).copy_with(userinfo=b""))[:300]
    except httpx2.InvalidURL:
        return "(an address that is none)"


def _excerpt(body: bytes) -> str:
    return f"found {body[:100].decode('utf-8', 'replace')!r}" if body else "found an empty body"
