"""What shall be changed in bodies, as the command line says it: `--set`, `--remove`, and an editor for one letter."""

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

from sidecar.cli.errors import WRONG_USAGE, say

if TYPE_CHECKING:
    from sidecar.api import models
    from sidecar.api.models.replays import EditRequest

_SETTING = re.compile(r'((?:[^="]|"(?:[^"\\]|\\.)*")+)=(.*)', re.DOTALL)
"""An = within a quoted key does not part them."""


def settings(given: Sequence[str] | None) -> dict[str, Any]:
    """`PATH=JSON` each. Raises typer.BadParameter."""
    from sidecar.domain.json_safe import parse_float

    found: dict[str, Any] = {}
    for one in given or ():
        match = _SETTING.fullmatch(one)
        if match is None:
            raise typer.BadParameter(f"--set: expected PATH=JSON such as data.items[2].qty=3, found {one!r}")
        path, value = match[1].strip(), match[2]
        try:
            found[path] = json.loads(value, parse_float=parse_float)
        except ValueError:
            raise typer.BadParameter(
                f"--set {path}: expected JSON, found {value!r}; a text has quotes of its own: --set '{path}=\"…\"'"
            ) from None
    return found


def editor() -> list[str]:
    """The person's editor. Exits where there is none, or no terminal to open it on."""
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        _refuse("--edit opens an editor, and there is no terminal here: use --set PATH=JSON and --remove PATH")
    if not command:
        _refuse("--edit: no editor is known: set VISUAL or EDITOR, or use --set PATH=JSON and --remove PATH")
    return shlex.split(command)


def edit_in_editor(letter: models.DeadLetterModel, command: Sequence[str]) -> EditRequest | None:
    """What the person changed in the letter's body; None: nothing. Exits where the editor fails."""
    import msgspec

    from sidecar.api.client.body_diff import difference
    from sidecar.domain.json_safe import encode_json, parse_float

    body = letter.body
    before = body if isinstance(body, str) else msgspec.json.format(encode_json(body), indent=2).decode()
    with tempfile.TemporaryDirectory(prefix="tracecar-") as directory:  # only its owner can look into it
        file = Path(directory) / "body.json"
        file.write_text(before, "utf-8")
        while True:
            _open(command, file)
            after = file.read_text("utf-8", "replace")
            if after.strip() == before.strip():
                return None
            try:
                return difference(body, json.loads(after, parse_float=parse_float))
            except json.JSONDecodeError as error:
                wrong = f"line {error.lineno}, column {error.colno}: this is no JSON ({error.msg})"
            except ValueError as error:
                wrong = str(error)
            say(wrong)
            if not typer.confirm("Edit again?", default=True, err=True):
                raise typer.Exit(WRONG_USAGE)


def _open(command: Sequence[str], file: Path) -> None:
    try:
        code = subprocess.call([*command, str(file)])
    except OSError as error:
        _refuse(f"--edit: {command[0]} cannot be run ({error.strerror}): set VISUAL or EDITOR to an editor")
    if code != 0:
        _refuse(f"--edit: {command[0]} ended with {code}: nothing was sent")


def _refuse(why: str) -> NoReturn:
    say(why)
    raise typer.Exit(WRONG_USAGE)
