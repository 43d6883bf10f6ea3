"""Rules about the sizes of files and functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from tests.checks.source import Offense, SourceFile

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
HOT_PATHS = frozenset[str](
    {
        # PATH:QUALIFIED_NAME of functions that stay in one piece because a call for each record costs too much.
    }
)


def long_files(files: Sequence[SourceFile]) -> Iterator[Offense]:
    """Find files that are too long to be one idea."""
    for file in files:
        lines = file.text.count("\n")
        if lines > MAX_FILE_LINES:
            advice = f"{lines} lines, at most {MAX_FILE_LINES}: split it by idea"
            yield Offense("file-length", file.path, "<module>", MAX_FILE_LINES, advice)


def long_functions(files: Sequence[SourceFile]) -> Iterator[Offense]:
    """Find functions that are too long, but for the named hot paths."""
    for file in files:
        for qualified, node in file.definitions:
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if isinstance(node, ast.ClassDef) or lines <= MAX_FUNCTION_LINES:
                continue
            if f"{file.path}:{qualified}" not in HOT_PATHS:
                advice = f"{lines} lines, at most {MAX_FUNCTION_LINES}: split it, or name it in HOT_PATHS with a reason"
                yield Offense("function-length", file.path, qualified, node.lineno, advice)
