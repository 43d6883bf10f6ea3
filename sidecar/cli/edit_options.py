"""Changes of bodies on the command line: `--set`, and an editor for a single dead letter."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from sidecar.cli.errors import USAGE_CODE, print_error

if TYPE_CHECKING:
    from sidecar.api import models
    from sidecar.api.models.replays import EditRequest

_SETTING = re.compile(r'((?:[^="]|"(?:[^"\\]|\\.)*")+)=(.*)', re.DOTALL)
"""Path and value. An `=` within a quoted key belongs to the path."""


def parse_settings(texts: Sequence[str] | None) -> dict[str, Any]:
    """Parse `PATH=JSON` texts to values by path. Raises typer.BadParameter."""
    from sidecar.domain.json_safe import parse_float

    values: dict[str, Any] = {}
    for text in texts or ():
        match = _SETTING.fullmatch(text)
        if match is None:
            raise typer.BadParameter(f"--set: expected PATH=JSON such as data.items[2].qty=3, found {text!r}")
        path, value = match[1].strip(), match[2]
        try:
            values[path] = json.loads(value, parse_float=parse_float)
        except ValueError:
            raise typer.BadParameter(
                f"--set {path}: expected JSON, found {value!r}; put quotes around a text: --set '{path}=\"…\"'"
            ) from None
    return values


def find_editor() -> list[str]:
    """Return the command of the user's editor. Exits if there is none, or no terminal."""
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        _exit("--edit needs a terminal: use --set PATH=JSON and --remove PATH instead")
    if not command:
        _exit("--edit: no editor is configured: set VISUAL or EDITOR, or use --set PATH=JSON and --remove PATH")
    return shlex.split(command)


def edit_in_editor(letter: models.DeadLetterModel, command: Sequence[str]) -> EditRequest | None:
    """Let the user edit the body of a dead letter. Returns the changes, or None. Exits if the editor fails."""
    import msgspec

    from sidecar.api.client.body_diff import difference
    from sidecar.domain.json_safe import encode_json, parse_float

    body = letter.body
    before = body if isinstance(body, str) else msgspec.json.format(encode_json(body), indent=2).decode()
    with tempfile.TemporaryDirectory(prefix="tracecar-") as directory:  # readable by its owner only
        file = Path(directory) / "body.json"
        file.write_text(before, "utf-8")
        while True:
            _run_editor(command, file)
            after = file.read_text("utf-8", "replace")
            if after.strip() == before.strip():
                return None
            try:
                return difference(body, json.loads(after, parse_float=parse_float))
            except json.JSONDecodeError as error:
                problem = f"line {error.lineno}, column {error.colno}: invalid JSON ({error.msg})"
            except ValueError as error:
                problem = str(error)
            print_error(problem)
            if not typer.confirm("Edit again?", default=True, err=True):
                raise typer.Exit(USAGE_CODE)


def _run_editor(command: Sequence[str], file: Path) -> None:
    try:
        code = subprocess.call([*command, str(file)])
    except OSError as error:
        _exit(f"--edit: cannot run {command[0]} ({error.strerror}): set VISUAL or EDITOR to an editor")
    if code != 0:
        _exit(f"--edit: {command[0]} failed with exit code {code}: nothing was sent")


def _exit(reason: str) -> NoReturn:
    print_error(reason)
    raise typer.Exit(USAGE_CODE)
