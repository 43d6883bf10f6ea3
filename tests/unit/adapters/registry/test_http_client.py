"""Requests of the registry client: which replies are an answer, an outage or a refusal."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import trustme

from sidecar.adapters.registry import http_client
from sidecar.adapters.registry.http_client import NotARegistryAnswer, RegistryHttpClient
from sidecar.config import schema as config
from sidecar.domain.errors import ConfigError, Outage, Refused
from tests.support.scripted_registry import Answer, Scripted

Ask = Callable[..., RegistryHttpClient]


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    """Create clients for these addresses, with these settings of `registry`."""
    opened: list[RegistryHttpClient] = []

    def start(*addresses: str, **settings: Any) -> RegistryHttpClient:
        opened.append(RegistryHttpClient(addresses, config.RegistryConfig(url=list(addresses), **settings)))
        return opened[-1]

    yield start
    for questions in opened:
        await questions.close()


def nobody() -> str:
    """An address without a listener."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


async def test_an_answer_is_typed(server: Scripted, ask: Ask) -> None:
    server.answers["/base/subjects"] = Answer(200, ["a", "b"])
    assert await ask(server.url + "/base/").ask("/subjects", list[str]) == ["a", "b"]


@pytest.mark.parametrize("status", [404, 422])
async def test_not_found_is_an_answer(server: Scripted, ask: Ask, status: int) -> None:
    server.answers["/x"] = Answer(status, {"error_code": 40401, "message": "Subject not found"})
    assert await ask(server.url).ask("/x", list[str]) is None


@pytest.mark.parametrize("body", [b"", b"<html>404</html>", b'{"status": 404}', b"[]"])
async def test_a_404_of_something_else_is_none(server: Scripted, ask: Ask, body: bytes) -> None:
    server.answers["/x"] = Answer(404, body)
    with pytest.raises(NotARegistryAnswer, match=r"check the path in registry\.url"):
        await ask(server.url).ask("/x", list[str])


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials_are_refused(server: Scripted, ask: Ask, status: int) -> None:
    server.answers["/x"] = Answer(status)
    with pytest.raises(Refused, match=r"credentials .*registry\.basic"):
        await ask(server.url).ask("/x", list[str])


async def test_other_error_codes_are_refusals_with_the_reply(server: Scripted, ask: Ask) -> None:
    server.answers["/x"] = Answer(400, b"bad \x1b request")
    with pytest.raises(Refused, match=r"answered 400: found 'bad \\x1b request'"):
        await ask(server.url).ask("/x", list[str])


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_trouble_of_the_server_is_an_outage(server: Scripted, ask: Ask, status: int) -> None:
    server.answers["/x"] = Answer(status, b"", Retry_After="7")
    with pytest.raises(Outage, match=str(status)) as outage:
        await ask(server.url).ask("/x", list[str])
    assert outage.value.retry_after == 7.0


async def test_retry_after_may_be_a_date_or_invalid(server: Scripted, ask: Ask) -> None:
    waits = []
    for said in (formatdate(time.time() + 100, usegmt=True), "soon", "-5", "9" * 400, ""):
        server.answers["/x"] = Answer(503, b"", Retry_After=said)
        with pytest.raises(Outage) as outage:
            await ask(server.url).ask("/x", list[str])
        waits.append(outage.value.retry_after)
    assert waits[0] is not None
    assert 0 < waits[0] <= 100
    assert waits[1:] == [None, None, 3_600.0, None]


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"a": 1}', b"[1]", b"[" * 100_000, b'["\xff"]'])
async def test_garbage_is_an_outage_that_shows_it(server: Scripted, ask: Ask, body: bytes) -> None:
    server.answers["/x"] = Answer(200, body)
    with pytest.raises(Outage, match="unexpected answer"):
        await ask(server.url).ask("/x", list[str])


async def test_an_answer_without_end_is_an_outage(server: Scripted, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "MAX_ANSWER_BYTES", 1_000)
    server.answers["/x"] = Answer(200, ["x" * 2_000])
    with pytest.raises(Outage, match="longer than 1000 bytes"):
        await ask(server.url).ask("/x", list[str])


async def test_an_answer_that_drips_is_an_outage(server: Scripted, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "ANSWER_TIMEOUT_S", 0.2)

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(1_000):
            handler.wfile.write(b" ")
            time.sleep(0.02)

    server.answers["/x"] = drip
    with pytest.raises(Outage, match="did not answer within"):
        await ask(server.url).ask("/x", list[str])


async def test_a_connection_cut_in_the_middle_is_an_outage(server: Scripted, ask: Ask) -> None:
    def cut(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n["a"')
        handler.close_connection = True

    server.answers["/x"] = cut
    with pytest.raises(Outage, match="cannot be reached"):
        await ask(server.url).ask("/x", list[str])


async def test_a_redirect_without_end_is_an_outage(server: Scripted, ask: Ask) -> None:
    server.answers["/x"] = Answer(302, b"", Location="/x")
    with pytest.raises(Outage, match="expected at most 5 redirects"):
        await ask(server.url).ask("/x", list[str])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_within_the_origin_is_followed_with_credentials(
    server: Scripted, ask: Ask, status: int
) -> None:
    server.answers["/x"] = Answer(status, b"", Location=f"{server.url}/y")
    server.answers["/y"] = Answer(status, b"", Location="z")
    server.answers["/z"] = Answer(200, ["found"])
    inside = server.url.replace("http://", "http://me:secret@")
    assert await ask(inside).ask("/x", list[str]) == ["found"]
    assert server.authorizations == ["Basic bWU6c2VjcmV0"] * 3


@pytest.mark.parametrize(
    "location", ["{other}/x", "//{host}/x", "https://{own}/x", "http://me:secret@{host}/x?token=t0ken"]
)
async def test_a_redirect_to_another_origin_is_refused(serve: Callable[..., Scripted], ask: Ask, location: str) -> None:
    own, other = serve(), serve()
    other.answers["/x"] = Answer(200, ["other"])
    host = other.url.removeprefix("http://")
    target = location.format(other=other.url, host=host, own=own.url.removeprefix("http://"))
    own.answers["/x"] = Answer(302, b"", Location=target)
    with pytest.raises(Refused, match="redirects to another origin") as refused:
        await ask(own.url.replace("http://", "http://me:secret@")).ask("/x", list[str])
    assert other.asked == []
    assert "secret" not in str(refused.value)
    assert "t0ken" not in str(refused.value)
    assert "registry.url" in str(refused.value)


@pytest.mark.parametrize(
    "address", ["http://me:secret@127.0.0.1:1", "http://me:secret@host:port", "ftp://me:secret@host"]
)
async def test_no_error_shows_the_password_of_an_address(ask: Ask, address: str) -> None:
    with pytest.raises(Outage) as outage:
        await ask(address).ask("/x", list[str])
    assert "secret" not in str(outage.value)


async def test_the_next_address_is_asked_and_kept(serve: Callable[..., Scripted], ask: Ask) -> None:
    bad, good = serve(), serve()
    bad.answers["/x"] = Answer(500)
    good.answers["/x"] = Answer(200, ["good"])
    questions = ask(nobody(), bad.url, good.url)
    for _ in range(3):
        assert await questions.ask("/x", list[str]) == ["good"]
    assert len(bad.asked) == 1
    bad.answers["/x"] = Answer(200, ["bad"])
    good.answers["/x"] = Answer(503)
    assert await questions.ask("/x", list[str]) == ["bad"]


async def test_an_outage_of_all_addresses_tells_of_each(server: Scripted, ask: Ask) -> None:
    server.answers["/x"] = Answer(503, b"", Retry_After="5")
    gone = nobody()
    with pytest.raises(Outage) as outage:
        await ask(gone, server.url).ask("/x", list[str])
    assert gone in str(outage.value)
    assert f"{server.url}/x answered 503" in str(outage.value)
    assert outage.value.retry_after == 5.0


async def test_credentials_are_sent_and_never_shown(server: Scripted, ask: Ask) -> None:
    server.answers["/x"] = Answer(200, [])
    await ask(server.url, basic=config.BasicAuthConfig(username="me", password="secret")).ask("/x", list[str])
    await ask(server.url, token="t0ken").ask("/x", list[str])
    inside = server.url.replace("http://", "http://me:secret@")
    await ask(inside).ask("/x", list[str])
    assert server.authorizations == ["Basic bWU6c2VjcmV0", "Bearer t0ken", "Basic bWU6c2VjcmV0"]
    server.answers["/x"] = Answer(500)
    with pytest.raises(Outage) as outage:
        await ask(inside).ask("/x", list[str])
    assert "secret" not in str(outage.value)


class Certificates:
    def __init__(self, path: Path) -> None:
        self.authority = trustme.CA()
        self.ca = path / "ca.pem"
        self.authority.cert_pem.write_to_path(self.ca)
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert("127.0.0.1").configure_cert(self.server)
        client = self.authority.issue_cert("client")
        self.cert, self.key = path / "client.pem", path / "client.key"
        self.cert.write_bytes(b"".join(each.bytes() for each in client.cert_chain_pems))
        client.private_key_pem.write_to_path(self.key)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


async def test_tls_by_our_own_authority(serve: Callable[..., Scripted], ask: Ask, certificates: Certificates) -> None:
    server = serve(certificates.server)
    server.answers["/x"] = Answer(200, ["a"])
    tls = config.TlsConfig(ca=str(certificates.ca))
    assert await ask(server.url, tls=tls).ask("/x", list[str]) == ["a"]
    with pytest.raises(Outage, match=r"(?i)certificate"):
        await ask(server.url).ask("/x", list[str])


async def test_a_client_certificate_is_shown(
    serve: Callable[..., Scripted], ask: Ask, certificates: Certificates
) -> None:
    certificates.server.verify_mode = ssl.CERT_REQUIRED
    certificates.authority.configure_trust(certificates.server)
    server = serve(certificates.server)
    server.answers["/x"] = Answer(200, ["a"])
    ca = str(certificates.ca)
    both = config.TlsConfig(ca=ca, cert=str(certificates.cert), key=str(certificates.key))
    assert await ask(server.url, tls=both).ask("/x", list[str]) == ["a"]
    with pytest.raises(Outage):
        await ask(server.url, tls=config.TlsConfig(ca=ca)).ask("/x", list[str])


def test_a_certificate_that_cannot_be_read_is_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("no certificate")
    tls = config.TlsConfig(ca=str(tmp_path / "gone.pem"), cert=str(tmp_path / "no.pem"))
    with pytest.raises(ConfigError) as error:
        RegistryHttpClient(["https://127.0.0.1:1"], config.RegistryConfig(tls=tls))
    assert [mistake.path for mistake in error.value.mistakes] == ["registry.tls.ca", "registry.tls.cert"]
