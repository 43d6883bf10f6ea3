"""mkdocs hooks: add the pages that are written from the code, and those of the repository's root."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from tests.site.command_reference import command_reference
from tests.site.http_reference import http_reference

ROOT = Path(__file__).parents[2]
ROOT_PAGES = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "security.md": "SECURITY.md",
}
_LINK = re.compile(r"\[([^\]]*)\]\(((?!https?:|#)[^)#\s]+)([^)\s]*)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add generated pages to those of `docs/`."""
    pages = {
        "command-line.md": command_reference(),
        "http-api.md": http_reference(),
        **{page: to_site((ROOT / source).read_text()) for page, source in ROOT_PAGES.items()},
    }
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def to_site(text: str) -> str:
    """Turn links of a page in the root into links of the site. A link that leaves the site keeps its text."""
    roots = {source: page for page, source in ROOT_PAGES.items()}

    def replaced(match: re.Match[str]) -> str:
        label, target, rest = match.groups()
        if target in roots:
            return f"[{label}]({roots[target]}{rest})"
        if target.startswith("docs/"):
            return f"[{label}]({target.removeprefix('docs/')}{rest})"
        return label

    return _LINK.sub(replaced, text)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Keep the text of links from `docs/` to files outside of it."""
    return re.sub(r"(?<!!)\[([^\]]*)\]\(\.\./[^)]*\)", r"\1", markdown)
