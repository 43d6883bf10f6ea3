"""ruff's rules about docstrings, here until the baseline has none left and ruff's own configuration takes them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import ruff

from tests.checks.source import PRODUCT, ROOT, Offense, SourceFile

CODES = "D101,D104,D205,D301,D401,D415"


def ruff_docstrings(files: Sequence[SourceFile]) -> Iterator[Offense]:
    """Find docstrings that break Google's convention, or that are missing on a class or a package."""
    by_path = {file.path: file for file in files if file.product}
    command = [ruff.find_ruff_bin(), "check", "--quiet", "--select", CODES, "--output-format", "json", *PRODUCT, "helm"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    for violation in json.loads(output):
        path = Path(violation["filename"]).relative_to(ROOT).as_posix()
        if path not in by_path:
            continue
        line = violation["location"]["row"]
        owner = "<module>" if violation["code"] == "D104" else by_path[path].owner(line)
        yield Offense(violation["code"], path, owner, line, violation["message"])
