"""Imports of each command: help, completion and short commands must start fast."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from typer._click.core import Command

from sidecar.cli.app import COMMANDS

HEAVY = {
    *("aiohttp", "aiokafka", "asyncio", "cramjam", "exporters", "fastavro", "grpc", "hiredis", "httpx2", "litestar"),
    *("msgspec", "opentelemetry", "re2", "redis", "requests", "rich", "ssl", "structlog", "textual", "tui", "uvicorn"),
    *("uvloop", "yaml", "pydantic", "httpx"),
}
"""Modules that a command imports only if this file lists them for it."""
CLIENT = {"asyncio", "httpx2", "msgspec", "ssl"}
REPORT = """
import json, sys
from sidecar.cli import main
sys.argv = ["tracecar", *json.loads(sys.argv[1])]
try:
    main()
except SystemExit:
    pass
sys.stderr.write("\\n" + json.dumps(sorted(sys.modules)))
"""


def loaded(*arguments: str, **environment: str) -> set[str]:
    """Run a command and return the heavy modules that it imported."""
    done = subprocess.run(
        [sys.executable, "-c", REPORT, json.dumps(arguments)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HOME": "/nonexistent", **environment},
    )
    modules = set(json.loads(done.stderr.rpartition("\n")[2]))
    return modules & HEAVY | {name for name in modules if name in ("sidecar.config.schema", "sidecar.runtime.service")}


@pytest.mark.slow  # a process for each command
@pytest.mark.parametrize("arguments", [[], *([name] for name in COMMANDS), ["dlq", "replay"], ["replays", "pause"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    assert loaded(*arguments, "--help") == set()


def test_completion_of_a_command_imports_nothing_heavy() -> None:
    for words in ("tracecar st", "tracecar dlq gr", "tracecar status --js"):
        number = str(len(words.split()) - 1)
        assert loaded(_TRACECAR_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=number) == set(), words


@pytest.mark.slow  # a process for each command
@pytest.mark.parametrize(
    "arguments",
    [
        *(["status"], ["events"], ["event", "e-1"], ["flow", "e-1"], ["flows"], ["aggregate", "o-1"], ["streams"]),
        *(["dlq", "list"], ["dlq", "groups"], ["dlq", "show", "x"], ["replays"], ["audit"], ["schemas"], ["groups"]),
    ],
)
def test_a_command_that_asks_a_sidecar_imports_its_client_alone(arguments: list[str]) -> None:
    assert loaded(*arguments, "--json", "--url", "http://127.0.0.1:9") <= CLIENT


def test_every_command_has_the_summary_of_its_help() -> None:
    from sidecar.cli.app import LazyCommands

    commands = LazyCommands()
    for name, entry in COMMANDS.items():
        help = commands[name].help or ""
        assert " ".join(help.split()).startswith(entry.summary), name
        for path, command in _walk(commands[name], name):
            assert "Examples:" in (command.epilog or ""), path
            assert any(f"tracecar {path.split()[0]}" in line for line in _list_examples(command)), path


def _walk(command: Command, path: str) -> Iterator[tuple[str, Command]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _walk(inner, f"{path} {name}")


def _list_examples(command: Command) -> list[str]:
    return [line for line in (command.epilog or "").splitlines() if line.startswith("  ") and "tracecar" in line]
