"""HTTP client of a sidecar, for the command line and the dashboard.

It imports no broker client, no schema library, and nothing of the sidecar but the models of the API.

    ClientError
    ├── Unreachable      no answer: not running, another address, connection cut       → exit 3
    ├── Unauthorized     no token, an unknown one, or one that may not do this          → exit 3
    ├── BadRequest       the request is wrong; for a query, `at` says where             → exit 2
    ├── NotFound         there is no such thing                                         → exit 1
    └── Failed           the sidecar could not do it, and says why                      → exit 1
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

import httpx2
import msgspec

from sidecar.api import models
from sidecar.api.client.dead_letters import DeadLetterClient, encode_body, split_lines
from sidecar.api.client.flows import READING, TIMEOUT, FlowClient, quote_segment
from sidecar.domain.json_safe import parse_float
from sidecar.domain.secrets import mask_url

A = TypeVar("A")

DEFAULT_URL = "http://127.0.0.1:8425"
SILENCE_TIMEOUT_S = 30.0
"""Time without a message after which a stream's connection counts as lost. The sidecar sends one every ten seconds."""
RECONNECT_MIN_S, RECONNECT_MAX_S = 0.2, 5.0
"""Backoff of reconnection."""


class ClientError(Exception):
    """The request failed."""


class Unreachable(ClientError):
    """The sidecar did not reply."""


class Unauthorized(ClientError):
    """The token is missing, unknown, or lacks the needed role."""


class BadRequest(ClientError):
    """The request is wrong. `at` is the index into `query` of the first character that does not fit.

    `did_you_mean` is the query that was probably meant, if one is known.
    """

    def __init__(
        self, message: str, query: str | None = None, at: int | None = None, did_you_mean: str | None = None
    ) -> None:
        self.query, self.at, self.did_you_mean = query, at, did_you_mean
        super().__init__(message)


class NotFound(ClientError):
    """The requested object does not exist."""


class ServerFailed(ClientError):
    """The sidecar could not carry out the request."""


class LiveConnected(msgspec.Struct, frozen=True):
    """The live stream is open. `again`: after an interruption, during which events were missed."""

    again: bool


class LiveRetry(msgspec.Struct, frozen=True):
    """The live stream was interrupted. The client reconnects after this many seconds."""

    reason: str
    seconds: float


class _BrokenAnswer(msgspec.Struct):
    """The last line of an answer that broke off."""

    problem: models.Problem


LiveItem = models.EventModel | models.DroppedModel | LiveConnected | LiveRetry
ScanItem = models.EventModel | models.ScanProgressModel | models.ScanEndModel


class Client(DeadLetterClient, FlowClient):
    """Client of one sidecar. An async context manager; every method raises ClientError."""

    def __init__(
        self, url: str = DEFAULT_URL, token: str | None = None, *, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self.url = mask_url(url.rstrip("/"))
        """The address as it is shown: without a password."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            self._http = httpx2.AsyncClient(
                base_url=url.rstrip("/"),
                headers=headers,
                timeout=TIMEOUT,
                transport=transport,
                verify=_tls(url),
                trust_env=not is_local(url),
            )
        except (httpx2.InvalidURL, ValueError):  # their texts quote parts of the address, which can be a password
            raise Unreachable(f"{self.url!r} is not an address of a sidecar; expected http://HOST:PORT") from None

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    # --- looking

    async def events(
        self, query: str = "", *, limit: int = 100, cursor: str | None = None, full: bool = False
    ) -> models.EventPage:
        """Return matching events, newest first."""
        return await self._get(
            "/v1/events", models.EventPage, {"query": query, "limit": limit, "cursor": cursor, "full": full or None}
        )

    async def event(self, id: str) -> models.EventModel:
        """Return one event with headers and body, by position or event id."""
        return await self._get(f"/v1/events/{quote_segment(id)}", models.EventModel)

    async def dead_letters(
        self, query: str = "", *, limit: int = 100, cursor: str | None = None
    ) -> models.DeadLetterPage:
        return await self._get(
            "/v1/dead-letters", models.DeadLetterPage, {"query": query, "limit": limit, "cursor": cursor}, READING
        )

    async def causes(self, query: str = "", *, limit: int = 100) -> models.CausePage:
        """Return the causes of dead letters, the most frequent one first."""
        return await self._get("/v1/dead-letters/groups", models.CausePage, {"query": query, "limit": limit}, READING)

    async def dead_letter(self, id: str) -> models.DeadLetterModel:
        return await self._get(f"/v1/dead-letters/{quote_segment(id)}", models.DeadLetterModel)

    async def check_schema(self, request: models.SchemaCheckRequest) -> models.SchemaCheckResult:
        """Check a schema version that is not registered against real events."""
        return await self._send("POST", "/v1/schema-checks", models.SchemaCheckResult, request)

    async def sagas(self, query: str = "", *, limit: int = 100, cursor: str | None = None) -> models.SagaPage:
        """Return the declared processes that match, the latest started first."""
        return await self._get("/v1/sagas", models.SagaPage, {"query": query, "limit": limit, "cursor": cursor})

    async def saga(self, id: str) -> models.SagaModel:
        """Return one process by its id, its aggregate id or its trace id."""
        return await self._get(f"/v1/sagas/{quote_segment(id)}", models.SagaModel)

    async def learn_sagas(self, query: str = "") -> models.LearnedSagaPage:
        """Return declarations proposed from the flows that match."""
        return await self._get("/v1/sagas/learn", models.LearnedSagaPage, {"query": query})

    async def catalog(self, query: str = "") -> models.CatalogPage:
        """Return the types of the events that match, by stream."""
        return await self._get("/v1/catalog", models.CatalogPage, {"query": query})

    async def lint(self, query: str = "") -> models.LintPage:
        """Return what is wrong with the events that match."""
        return await self._get("/v1/lint", models.LintPage, {"query": query})

    async def schemas(self, subject: str | None = None, version: int | None = None) -> models.SubjectPage:
        path = "/v1/schemas" if subject is None else f"/v1/schemas/{quote_segment(subject)}"
        return await self._get(path, models.SubjectPage, {"version": version})

    async def streams(self) -> models.StreamPage:
        return await self._get("/v1/streams", models.StreamPage)

    async def groups(self) -> models.GroupPage:
        """Return the other consumer groups that read watched streams, by name."""
        return await self._get("/v1/groups", models.GroupPage)

    async def status(self) -> models.ServiceStatus:
        return await self._get("/v1/status", models.ServiceStatus)

    async def history(self) -> models.HistoryModel:
        """Return what the history holds and lacks."""
        return await self._get("/v1/history", models.HistoryModel)

    async def sql(self, request: models.SqlRequestModel) -> models.SqlAnswerModel:
        """Run a SELECT statement over the history."""
        return await self._send("POST", "/v1/sql", models.SqlAnswerModel, request)

    # --- acting

    async def resume(self, stream: str) -> models.ReleaseResult:
        """Retry the records that hold a stream."""
        return await self._ask("POST", f"/v1/streams/{quote_segment(stream)}/resume", models.ReleaseResult)

    async def skip(self, stream: str) -> models.ReleaseResult:
        """Skip the records that hold a stream, and continue after them."""
        return await self._ask("POST", f"/v1/streams/{quote_segment(stream)}/skip", models.ReleaseResult)

    # --- streams

    async def live(self, query: str = "") -> AsyncGenerator[LiveItem, None]:
        """Yield live events, and reconnect forever. Every reconnection is an item too.

        Raises only errors that a retry cannot fix: a wrong query, an unknown token.
        """
        again, wait = False, RECONNECT_MIN_S
        while True:
            try:
                async with aclosing(self._stream("/v1/live", {"query": query})) as messages:
                    async for message in messages:
                        if message is None:
                            yield LiveConnected(again)
                            again, wait = True, RECONNECT_MIN_S
                        elif message.event == "event":
                            yield _decode(message.data, models.EventModel)
                        elif message.event == "dropped":
                            yield _decode(message.data, models.DroppedModel)
                reason = "the sidecar ended the stream"
            except (Unreachable, ServerFailed) as error:
                reason = str(error)
            yield LiveRetry(reason, wait)
            await asyncio.sleep(wait)
            wait = min(wait * 2, RECONNECT_MAX_S)

    async def scan(
        self, query: str = "", *, limit: int = 0, key: str | None = None, full: bool = False
    ) -> AsyncGenerator[ScanItem, None]:
        """Yield matching records that the sidecar reads from the brokers. The last item is a `ScanEndModel`.

        Stop iterating to cancel the scan.
        """
        parameters = {"query": query, "limit": limit, "key": key, "full": full or None}
        async with aclosing(self._stream("/v1/scan", parameters)) as messages:
            async for message in messages:
                if message is None:
                    continue
                if message.event == "problem":
                    raise _error(_decode(message.data, models.Problem))
                item: ScanItem
                if message.event == "event":
                    item = _decode(message.data, models.EventModel)
                elif message.event == "progress":
                    item = _decode(message.data, models.ScanProgressModel)
                elif message.event == "end":
                    item = _decode(message.data, models.ScanEndModel)
                else:
                    continue
                yield item
                if isinstance(item, models.ScanEndModel):
                    return
        raise Unreachable("the connection was cut in the middle of the scan")

    async def _stream(
        self, path: str, parameters: Mapping[str, Any]
    ) -> AsyncGenerator[httpx2.ServerSentEvent | None, None]:
        """Yield the messages of a stream of server-sent events; first None, once it is open."""
        headers = {"Accept": "text/event-stream"}
        timeout = httpx2.Timeout(SILENCE_TIMEOUT_S, connect=5.0)
        try:
            async with self._http.stream(
                "GET", path, params=_present(parameters), headers=headers, timeout=timeout
            ) as response:
                if response.status_code != 200:
                    await response.aread()
                    raise _refusal(response)
                yield None
                async for message in httpx2.EventSource(response, max_event_size=None):
                    yield message
        except httpx2.HTTPError as error:
            raise Unreachable(self._no_answer(error)) from None

    async def _export(self, path: str, parameters: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
        try:
            async with self._http.stream("GET", path, params=_present(parameters), timeout=READING) as response:
                if response.status_code != 200:
                    await response.aread()
                    raise _refusal(response)
                async for line in split_lines(response):
                    if line.startswith(b'{"problem":'):
                        raise _error(_decode(line, _BrokenAnswer).problem)
                    yield line
        except httpx2.HTTPError as error:
            raise Unreachable(self._no_answer(error)) from None

    # --- asking

    async def _send(self, method: str, path: str, kind: type[A], body: object | bytes | None = None) -> A:
        data, headers = encode_body(body)
        return await self._ask(method, path, kind, None, READING, data, headers)

    async def _get(
        self,
        path: str,
        kind: type[A],
        parameters: Mapping[str, Any] | None = None,
        timeout: httpx2.Timeout = TIMEOUT,
    ) -> A:
        return await self._ask("GET", path, kind, parameters, timeout)

    async def _ask(
        self,
        method: str,
        path: str,
        kind: type[A],
        parameters: Mapping[str, Any] | None = None,
        timeout: httpx2.Timeout = TIMEOUT,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> A:
        return _decode(await self._request(method, path, parameters, timeout, body, headers), kind)

    async def _read(self, path: str, parameters: Mapping[str, Any] | None, timeout: httpx2.Timeout) -> bytes:
        return await self._request("GET", path, parameters, timeout)

    async def _request(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, Any] | None,
        timeout: httpx2.Timeout,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        parameters = _present(parameters) if parameters else None
        try:
            response = await self._http.request(
                method, path, params=parameters, timeout=timeout, content=body, headers=headers
            )
        except httpx2.HTTPError as error:
            raise Unreachable(self._no_answer(error)) from None
        except httpx2.InvalidURL as error:
            raise BadRequest(f"invalid request: {error}") from None
        if not response.is_success:
            raise _refusal(response)
        return response.content

    def _no_answer(self, error: Exception) -> str:
        match error:
            case httpx2.ConnectError():
                return f"no sidecar answers at {self.url}: is it running there? (--url or TRACECAR_URL names another)"
            case httpx2.TimeoutException():
                return f"the sidecar at {self.url} did not answer in time"
        return f"the connection to the sidecar at {self.url} failed: {str(error) or type(error).__name__}"


def is_local(url: str) -> bool:
    """Check whether the address is on this machine, so that no proxy is used."""
    try:
        return httpx2.URL(url).host in ("127.0.0.1", "localhost", "::1")
    except (httpx2.InvalidURL, ValueError):
        return False


def _tls(url: str) -> ssl.SSLContext | bool:
    """Load the system's certificates only if they are needed, because that takes a while."""
    return ssl.create_default_context() if url.startswith("https:") else False


def _present(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None and value != ""}


def _decode(data: str | bytes, kind: type[A]) -> A:
    try:
        return msgspec.json.Decoder(kind, float_hook=parse_float).decode(data)
    except msgspec.DecodeError as error:
        raise ServerFailed(f"the server is not a sidecar, or one of another version: {error}") from None


def _refusal(response: httpx2.Response) -> ClientError:
    try:
        problem = msgspec.json.decode(response.content, type=models.Problem)
    except msgspec.DecodeError:
        status, reason = response.status_code, response.reason_phrase
        problem = models.Problem(title=reason, status=status, detail=f"the answer was {status} {reason}")
    return _error(problem)


def _error(problem: models.Problem) -> ClientError:
    match problem.status:
        case 401 | 403:
            return Unauthorized(problem.detail)
        case 404:
            return NotFound(problem.detail)
        case 400 | 414 | 422:
            return BadRequest(problem.detail, problem.query, problem.at, problem.did_you_mean)
    return ServerFailed(problem.detail)
