"""GET requests to a schema registry: several addresses with failover, bounded answers, errors that say what to do.

2xx                                the reply
404 or 422 with an `error_code`    a reply too: the object does not exist
3xx                                followed within the same origin; to another one: Refused
401, 403 and other 4xx             Refused
408, 429, 5xx, no reply, garbage   the next address; Outage after the last, with the longest Retry-After
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

ANSWER_TIMEOUT_S = 10.0
"""Time limit of one whole reply, however slowly it arrives."""
MAX_ANSWER_BYTES = 32 << 20
_RETRY_AFTER_MAX_S = 3_600.0
MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRY_AGAIN = frozenset({408, 425, 429})


class _RegistryErrorBody(msgspec.Struct):
    """The body of a refusal, in Confluent's form."""

    error_code: int
    message: str = ""


class NotARegistryAnswer(Exception):
    """A 404 that no registry API sent: the path or the server is wrong."""


class RegistryHttpClient:
    """GET requests to one registry under one or more addresses."""

    def __init__(self, addresses: Sequence[str], settings: RegistryConfig) -> None:
        """Create the client without connecting. Raises ConfigError if a certificate cannot be read.

        `addresses` are base URLs, tried in turn, starting with the one that replied last.
        """
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
            # A context without certificates if none is needed: loading the system's costs time and memory.
            verify=_build_tls(settings.tls or TlsConfig()) if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            timeout=httpx2.Timeout(5.0, connect=3.0),
            limits=httpx2.Limits(max_connections=20, max_keepalive_connections=5, keepalive_expiry=60.0),
            follow_redirects=False,  # see `_get`
        )

    async def ask(self, path: str, answer: type[T]) -> T | None:
        """Return the reply to `GET {address}{path}`; None if the registry says that the object does not exist.

        Raises Outage, Refused and NotARegistryAnswer.
        """
        outages: list[Outage] = []
        for attempt in range(len(self.addresses)):
            number = (self._first + attempt) % len(self.addresses)
            try:
                decoded = await self._ask(self.addresses[number] + path, answer)
            except Outage as outage:
                outages.append(outage)
                continue
            self._first = number
            return decoded
        waits = [outage.retry_after for outage in outages if outage.retry_after is not None]
        raise Outage("; ".join(map(str, outages)), max(waits, default=None))

    async def close(self) -> None:
        await self._client.aclose()

    async def _ask(self, url: str, answer: type[T]) -> T | None:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                status, headers, body = await self._get(url)
        except TimeoutError:
            raise Outage(f"schema registry {mask_url(url)} did not answer within {ANSWER_TIMEOUT_S:.0f} s") from None
        except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL, OSError) as error:
            # OSError: httpx2 lets through what TLS says after its handshake, such as that we need a certificate.
            raise Outage(f"schema registry {mask_url(url)} cannot be reached: {_describe(error, url)}") from None
        if 200 <= status < 300:
            return _decode(url, body, answer)
        if status in (401, 403):
            raise Refused(
                f"schema registry {mask_url(url)} refuses our credentials ({status}); check registry.basic or .token"
            )
        if status in _TRY_AGAIN or status >= 500:
            raise Outage(f"schema registry {mask_url(url)} answered {status}", _retry_after(headers))
        if status not in (404, 422):
            raise Refused(f"schema registry {mask_url(url)} answered {status}: {_excerpt(body)}")
        try:
            msgspec.json.decode(body, type=_RegistryErrorBody)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise NotARegistryAnswer(
                f"{mask_url(url)} answered {status}, and not as a schema registry does: {_excerpt(body)}; "
                "check the path in registry.url (Apicurio's ends with /apis/ccompat/v7)"
            ) from None
        return None

    async def _get(self, url: str) -> tuple[int, httpx2.Headers, bytes]:
        """Send the request, and follow redirects within the origin of the address.

        Another origin was not configured: it might see our credentials, and serve us other schemas.
        """
        origin = target = httpx2.URL(url)
        for _ in range(MAX_REDIRECTS + 1):
            status, headers, body = await self._get_once(str(target))
            if status not in _REDIRECTS or "location" not in headers:
                return status, headers, body
            try:
                target = target.join(headers["location"])
            except (httpx2.InvalidURL, ValueError):
                raise Outage(f"schema registry {mask_url(url)} redirects to an invalid address") from None
            if not _same_origin(origin, target):
                raise Refused(
                    f"schema registry {mask_url(url)} redirects to another origin, {mask_url(str(target))}; it must "
                    "keep scheme, host and port: put the final address in registry.url"
                )
            target = target.copy_with(userinfo=origin.userinfo)
        raise Outage(f"schema registry {mask_url(url)}: expected at most {MAX_REDIRECTS} redirects, found more")

    async def _get_once(self, url: str) -> tuple[int, httpx2.Headers, bytes]:
        async with self._client.stream("GET", url) as response:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise Outage(f"schema registry {mask_url(url)}: the answer is longer than {MAX_ANSWER_BYTES} bytes")
            return response.status_code, response.headers, bytes(body)


def _decode(url: str, body: bytes, answer: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Outage(f"schema registry {mask_url(url)} gave an unexpected answer: {error}; {_excerpt(body)}") from None


def _build_tls(tls: TlsConfig) -> ssl.SSLContext:
    """Build the trust store (the system's, or the given CA), with the client's certificate if there is one."""
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
    """Parse the seconds of a number or a date (RFC 9110, 10.2.3)."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), _RETRY_AFTER_MAX_S)
    try:
        return min(max(0.0, parsedate_to_datetime(text).timestamp() - time.time()), _RETRY_AFTER_MAX_S)
    except (ValueError, OverflowError):
        return None


def mask_url(url: str) -> str:
    """Return an address without its credentials, before the host or in parameters."""
    try:
        return str(httpx2.URL(url).copy_with(userinfo=b"", query=None, fragment=None))[:300]
    except (httpx2.InvalidURL, ValueError):
        return "(an invalid address)"


def _describe(error: Exception, url: str) -> str:
    """Return the text of an error without the credentials of the address."""
    if isinstance(error, httpx2.InvalidURL):
        return "the address is invalid; expected http://HOST:PORT/PATH"  # its text quotes the address
    credentials = httpx2.URL(url).userinfo.decode("ascii", "replace")
    text = str(error) or type(error).__name__
    return text.replace(credentials, "***") if credentials else text


def _same_origin(first: httpx2.URL, second: httpx2.URL) -> bool:
    return _origin(first) == _origin(second)


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)


def _excerpt(body: bytes) -> str:
    return f"found {body[:100].decode('utf-8', 'replace')!r}" if body else "found an empty body"
