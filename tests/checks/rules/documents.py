"""The rule that documents name files that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.checks.source import ROOT, Offense

_PATH = re.compile(r"`((?:sidecar|exporters|tui|helm|tests|docs|examples|\.github)/[\w./-]*)`")
_LINK = re.compile(r"\]\(((?!https?:|mailto:|#)[^)#\s]+)")


def missing_paths(documents: Sequence[tuple[str, str]], root: Path = ROOT) -> Iterator[Offense]:
    """Find paths in back quotes and relative links, in Markdown, that lead nowhere."""
    for path, text in documents:
        if not path.endswith(".md"):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            wanted = [(match[1], root / match[1]) for match in _PATH.finditer(line)]
            wanted += [(match[1], root / Path(path).parent / match[1]) for match in _LINK.finditer(line)]
            for name, target in wanted:
                if "NAME" not in name and not target.exists():
                    yield Offense("document-path", path, name, number, "no such file: it was moved, or never there")
