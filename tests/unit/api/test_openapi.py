"""The API matches its OpenAPI document: Schemathesis sends valid and invalid requests."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.support.api import OPERATOR, READER, REPORTER, order, serving

ENDLESS = ("/v1/live", "/v1/scan")
"""Paths whose streams of events do not end, or end only with the brokers' logs."""
SKIPPED_CHECKS = (
    "unsupported_method",
    "allow_header_conformance",  # Litestar has one handler for each method of a path
    "positive_data_acceptance",  # a schema cannot require exactly one of `position` and `record`
)


@pytest.mark.slow
@pytest.mark.parametrize("token", [OPERATOR, READER, REPORTER], ids=["operate", "read", "report"])
async def test_every_answer_is_one_that_the_description_names(tmp_path: Path, token: str) -> None:
    settings = tmp_path / "schemathesis.toml"
    statuses = [400, 401, 403, 404, 405, 409, 413, 414, 415]
    settings.write_text(f"[checks]\nnegative_data_rejection.expected-statuses = {statuses}\n")
    async with serving(tmp_path / "token") as sidecar:
        for number in range(20):
            await sidecar.pass_on(order(number))
        await sidecar.pass_on({"eventId": "x", "eventType": 3})
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings)]
        command += ["run", f"{sidecar.url}/schema", "-H", f"Authorization: Bearer {token}"]
        command += ["--phases", "coverage,fuzzing", "--max-examples", "15", "--seed", "1", "--request-timeout", "10"]
        command += ["--exclude-checks", ",".join(SKIPPED_CHECKS), "--suppress-health-check", "all"]
        for path in ENDLESS:
            command += ["--exclude-path", path]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=tmp_path
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()[-20_000:]


@pytest.mark.parametrize(
    "body", [b"", b"null", b'{"dry_run": 0}', b'{"dry_run": "yes"}', b'{"rate": "1"}', b'{"ids": "a"}']
)
async def test_bodies_are_read_strictly(tmp_path: Path, body: bytes) -> None:
    async with serving(tmp_path / "token") as sidecar, sidecar.http() as http:
        bad = await sidecar.pass_on({"eventId": "x", "eventType": 3})
        assert bad.event.rejection is not None
        answer = await http.post("/v1/replays", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 400, answer.text
        assert (await http.get("/v1/replays")).json()["items"] == []
