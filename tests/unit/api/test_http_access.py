"""Access over HTTP: tokens, roles, host names, response headers, limits."""

from __future__ import annotations

import stat
from pathlib import Path

import httpx2
import pytest

from tests.support.api import OPERATOR, READER, REPORTER, Sidecar, assert_problem


async def test_everything_but_health_needs_a_token(sidecar: Sidecar) -> None:
    async with sidecar.http(None) as http:
        for path in ("/v1/events", "/v1/status", "/schema", "/nonsense", "/v1/live", "/", "//healthz", "/healthz/x"):
            for header in (None, "Bearer nonsense", f"Basic {OPERATOR}", "Bearer", "Bearer " + "x" * 8_000):
                response = await http.get(path, headers={"Authorization": header} if header else {})
                await assert_problem(response, 401)
                assert response.headers["www-authenticate"].startswith("Bearer")


async def test_health_needs_no_token(sidecar: Sidecar) -> None:
    async with sidecar.http(None) as http:
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.get("/readyz")).status_code == 200
        metrics = (await http.get("/metrics")).text
        sidecar.ready = False
        assert (await http.get("/readyz")).status_code == 503
        assert (await http.get("/healthz")).status_code == 200
    assert 'tracecar_events_total{system="memory",stream="orders"} 7' in metrics
    assert "tracecar_ready 1" in metrics


async def test_roles(sidecar: Sidecar) -> None:
    sidecar.held["orders"] = 1
    for token, reading, acting in ((OPERATOR, 200, 200), (READER, 200, 403), (REPORTER, 403, 403)):
        async with sidecar.http(token) as http:
            assert (await http.get("/v1/events")).status_code == reading
            response = await http.post("/v1/streams/orders/resume")
            assert response.status_code == acting
            if acting == 403:
                assert "operate" in (await assert_problem(response, 403))["detail"]
    assert sidecar.asked == [("resume", "orders")]


async def test_a_token_is_created_and_readable_for_its_user_alone(tmp_path: Path) -> None:
    from sidecar.config.token_file import read_or_create_token
    from sidecar.domain.errors import Refused

    file = tmp_path / "state" / "tracecar" / "token"
    token = read_or_create_token(file)
    assert len(token) > 30
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_or_create_token(file) == token
    file.chmod(0o644)
    with pytest.raises(Refused, match="other users can read"):
        read_or_create_token(file)
    file.chmod(0o600)
    file.write_text("")
    with pytest.raises(Refused, match="found an empty file"):
        read_or_create_token(file)


async def test_other_host_names_are_refused_on_loopback(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", ""):
        await assert_problem(await http.get("/healthz", headers={"Host": host}), 421)
    for host in ("localhost:1", "127.0.0.1", "[::1]:80", "x.localhost"):
        assert (await http.get("/healthz", headers={"Host": host})).status_code == 200


async def test_answers_are_not_cached_or_framed(http: httpx2.AsyncClient) -> None:
    for response in (await http.get("/v1/events"), await http.get("/v1/events/x"), await http.get("/healthz")):
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in response.headers["content-security-policy"]


async def test_requests_have_limits(http: httpx2.AsyncClient) -> None:
    await assert_problem(await http.get("/v1/events?query=" + "x" * 20_000), 414)
    response = await http.post("/v1/streams/orders/resume", content=b"x" * (2 << 20))
    assert response.status_code in (200, 413)


@pytest.mark.parametrize("depth", [200, 900, 3_000, 100_000])
@pytest.mark.parametrize("opening", [b"[", b'{"edit":{"set":{"a":', b'{"ids":["x"],"dry_run":true,"edit":{"body":'])
async def test_a_body_that_is_nested_deeply_is_a_bad_request(
    http: httpx2.AsyncClient, depth: int, opening: bytes
) -> None:
    closing = b"}" * opening.count(b"{")
    for path in ("failures", "replays", "dead-letters/discard", "dead-letters/restore", "dead-letters/import"):
        for body in (opening + b"[" * depth, opening + b"[" * depth + b"]" * depth + closing):
            answer = await http.post(f"/v1/{path}", content=body, headers={"content-type": "application/json"})
            assert answer.status_code == 400, (path, answer.text)
