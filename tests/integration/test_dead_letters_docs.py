"""The commands and examples of docs/dead-letters.md work on a real sidecar."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from redis import Redis
from typer.core import TyperGroup

from sidecar.cli.app import app
from sidecar.demo.embedded_valkey import EmbeddedValkey
from sidecar.query import parse
from tests.support.ports import free_port
from tests.support.sidecar_process import TOKEN, Sidecar

DOCS = (Path(__file__).parents[2] / "docs" / "dead-letters.md").read_text()
REPORTER = "a-token-for-reports-alone"
RUN: dict[str, Callable[[Path], list[str]]] = {
    "sh": lambda file: ["sh", str(file)],
    "python": lambda file: [sys.executable, str(file)],
    "js": lambda file: ["node", str(file)],
    "java": lambda file: ["java", str(file)],
    "go": lambda file: ["go", "run", str(file)],
}
NEEDS = {"sh": "curl", "python": "sh", "js": "node", "java": "javac", "go": "go"}
CALLS = {
    "sh": "",
    "python": "try:\n    raise ValueError('no \"price\"\\n')\nexcept ValueError as error:\n"
    "    print(json.dumps(report(os.environ['POSITION'], error, 3)))\n",
    "js": "report(process.env.POSITION, new TypeError('no \"price\"\\n'), 3)"
    ".then((answer) => console.log(JSON.stringify(answer)));\n",
    "go": 'func main() {\n\tanswer, err := report(os.Getenv("POSITION"), fmt.Errorf("no \\"price\\"\\n"), 3)\n'
    "\tif err != nil {\n\t\tpanic(err)\n\t}\n\tfmt.Println(answer)\n}\n",
}
"""Code that calls the functions of the documentation with a failure of ours."""
JAVA_MAIN = """
    public static void main(String[] arguments) throws Exception {
        System.out.println(report(System.getenv("POSITION"), new IllegalStateException("no \\"price\\"\\n"), 3));
    }
}
"""


def block(language: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```$", DOCS, re.DOTALL | re.MULTILINE)
    assert len(found) == 1, language
    return str(found[0])


def program(language: str) -> str:
    text = block(language)
    if language == "java":
        return text.rstrip().removesuffix("}") + JAVA_MAIN
    return text + "\n" + CALLS[language]


def here() -> list[str]:
    """Return the languages that this machine can run: always Python and curl, others if installed."""
    return [language for language in RUN if language in ("sh", "python") or shutil.which(NEEDS[language])]


@pytest.mark.valkey
def test_the_examples_report_failures(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    stream = f"reported-{time.time_ns()}"
    client = Redis.from_url(valkey.url)
    config = {
        "service": "shop",
        "sources": {"redis": {"url": valkey.url, "streams": [stream], "start": "earliest"}},
        "api": {
            "port": free_port(),
            "token": TOKEN,
            "tokens": [{"name": "billing", "token": REPORTER, "role": "report"}],
        },
    }
    client.xadd(stream, {"payload": b'{"eventId": "e-1"}'})
    with Sidecar(tmp_path, config) as sidecar:
        sidecar.wait(lambda: sidecar.rows("events"), "the stream to be watched")
        for language in here():
            entry = client.xadd(stream, {"payload": json.dumps({"eventId": language}).encode()})
            assert isinstance(entry, bytes)
            position = f"redis://{stream}/{entry.decode()}"
            file = tmp_path / f"Example.{language}"
            file.write_text(program(language))
            for created in (True, False) if language in ("sh", "python") else (True,):
                done = subprocess.run(
                    RUN[language](file),
                    env={**os.environ, "TRACECAR_URL": sidecar.url, "TRACECAR_TOKEN": REPORTER, "POSITION": position},
                    capture_output=True,
                    text=True,
                    timeout=200,
                    check=False,
                )
                assert done.returncode == 0, (language, done.stdout, done.stderr)
                answer = json.loads(done.stdout)
                assert (answer["id"], answer["created"]) == (f"billing@{position}", created), language
            (letter,) = sidecar.rows("dlq", "show", answer["id"])
            assert (letter["code"], letter["attempts"], letter["group"]) == ("reported.error", 3, "billing")
            assert letter["body"] == {"eventId": language}
            assert "price" in letter["message"]
            assert letter["history"][0]["by"] == "billing"
    client.close()


def commands() -> list[list[str]]:
    blocks = re.findall(r"^```\n(.*?)^```$", DOCS, re.DOTALL | re.MULTILINE)
    lines = [line for text in blocks for line in text.splitlines() if line.startswith("tracecar ")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


def test_every_command_in_the_document_exists() -> None:
    assert len(commands()) > 15
    root = typer.main.get_command(app)
    for arguments in commands():
        command, rest = root, list(arguments)
        context = command.make_context("tracecar", rest)
        while isinstance(command, TyperGroup) and (rest := [*context._protected_args, *context.args]):
            name, found, rest = command.resolve_command(context, rest)
            assert found is not None, arguments
            command, context = found, found.make_context(name, rest, parent=context)
        for word in arguments:
            if re.match(r"[a-z]+:[^/]", word):
                parse(word)
