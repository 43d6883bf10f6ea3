"""The rule that the version of `pyproject.toml` is the version everywhere."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.checks.source import ROOT, Offense

COPIES = (
    ("helm/tracecar/Chart.yaml", r"^version: (.*)$"),
    ("helm/tracecar/Chart.yaml", r"^appVersion: (.*)$"),
    ("Dockerfile", r"^ARG VERSION=(.*)$"),
)
"""Files that repeat the version because their tools cannot read `pyproject.toml`, with the line that does."""


def differing_versions(root: Path = ROOT) -> Iterator[Offense]:
    """Find copies of the version that differ from `pyproject.toml`."""
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    for path, pattern in COPIES:
        text = (root / path).read_text()
        for match in re.finditer(pattern, text, re.MULTILINE):
            if match[1].strip("\"'") != version:
                line = text.count("\n", 0, match.start()) + 1
                yield Offense("version", path, match[0].strip(), line, f"pyproject.toml says {version}")
