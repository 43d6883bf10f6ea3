"""Rules about docstrings, comments, messages and documents."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

from tests.checks.source import Offense, SourceFile, words

BANNED = re.compile(
    r"\b(?:settl(?:e|es|ed|ing|er|ement)|unsettled|(?<!dead-)letter(?:ed|ing)|(?<!dead-)letters? it|to letter|"
    r"veil(?:s|ed|ing)?|beats?|beaten|beating|told of|anew|afresh|sets? aside|setting aside|stands? for|stood for|"
    r"(?:lie|lies|lay) (?:in|on|at)|goes by|go by|whoever|whatever|whomever|somebody|nobody|everybody|anybody|"
    r"hears? of|heard of|(?:is|are) called so|whose|such as (?:is|are|was)|thereof|therein|wherein|hereby|seldom|"
    r"as it were|wants? of|of whom)\b",
    re.IGNORECASE,
)
"""Words of the project's former private language. `whose` counts only at the start of a sentence."""
FIRST_WORDS = words("""
    what who whom whose how whether where wherever when whenever which why of and but or as by for from if in into
    on so than that until unless without with at because nothing there it they
""")
CONTRACT_TEXT = re.compile(r"\bsettled_here\b")
"""Names that scripts rely on."""


def banned_words(files: Sequence[SourceFile]) -> Iterator[Offense]:
    """Find banned words in what a person reads in Python files."""
    for file in files:
        if file.path.startswith("tests/checks/") or file.path.startswith("tests/unit/checks/"):
            continue
        seen = set()
        for prose in file.prose:
            for word in find_banned(prose.text):
                subject = f"{prose.owner} {prose.kind} “{word}”"
                if subject not in seen:
                    seen.add(subject)
                    yield Offense("banned-word", file.path, subject, prose.line, "say it in plain technical English")


def find_banned_in_documents(documents: Sequence[tuple[str, str]]) -> Iterator[Offense]:
    """Find banned words in documents and in the chart."""
    for path, text in documents:
        seen = set()
        for number, line in enumerate(text.splitlines(), 1):
            for word in find_banned(line):
                if word not in seen:
                    seen.add(word)
                    yield Offense("banned-word", path, f"“{word}”", number, "say it in plain technical English")


def find_banned(text: str) -> list[str]:
    """List the banned words of a text, in lower case, without names in back quotes or those of the contract."""
    text = CONTRACT_TEXT.sub("", re.sub(r"`[^`\n]*`", "", text))
    words = []
    for match in BANNED.finditer(text):
        if match[0].lower() == "whose" and not _begins_sentence(text, match.start()):
            continue
        words.append(" ".join(match[0].lower().split()))
    return words


def _begins_sentence(text: str, position: int) -> bool:
    before = text[:position].rstrip()
    return not before or before[-1] in ".:!?"


def first_lines(files: Sequence[SourceFile]) -> Iterator[Offense]:
    """Find docstrings that begin with a question word or a fragment."""
    for file in files:
        if not file.product:
            continue
        for owner, node, constant in file.docstrings:
            problem = first_line_problem(constant.value, attribute=isinstance(node, ast.Assign | ast.AnnAssign))
            if problem:
                yield Offense("docstring-start", file.path, owner, constant.lineno, problem)


def first_line_problem(docstring: str, *, attribute: bool = False) -> str | None:
    """Return what is wrong with the beginning of a docstring, or None."""
    text = docstring.strip()
    match = re.match(r"[`\"“(]*([A-Za-z']+)", text)
    word = match[1].lower() if match else ""
    if text.startswith("`"):
        return None if attribute else _without_end(text)
    if word in FIRST_WORDS:
        return f"begins with “{match[1] if match else ''}”; begin with what it is (a noun) or does (an imperative)"
    return _without_end(text)


def _without_end(text: str) -> str | None:
    paragraph = text.split("\n\n")[0].rstrip()
    return None if paragraph.endswith((".", ":", "!", "?", "…", "`", ")", "```")) else "end the sentence with a period"
