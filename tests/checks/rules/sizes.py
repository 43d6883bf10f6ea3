"""Rules about the sizes of files and functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from tests.checks.source import Offense, SourceFile

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
HOT_PATHS = {
    "sidecar/adapters/index/memory/store.py:SegmentStore.add": "packs every event into the memory index",
    "sidecar/adapters/index/redis/write_batch.py:WriteBatchBuilder.take": "packs every event for the shared index",
    "sidecar/decoding/decoder.py:EventDecoder._decode_step": "decodes every record",
    "sidecar/decoding/fast_path.py:_compile_build": "holds the function below as a closure",
    "sidecar/decoding/fast_path.py:_compile_build.build": "builds the event of nearly every record",
}
"""Functions that stay in one piece, by `PATH:QUALIFIED_NAME`, with the reason: there a call for each record costs too
much."""


def long_files(files: Sequence[SourceFile]) -> Iterator[Offense]:
    """Find files that are too long to be one idea."""
    for file in files:
        lines = file.text.count("\n")
        if lines > MAX_FILE_LINES:
            advice = f"{lines} lines, at most {MAX_FILE_LINES}: split it by idea"
            yield Offense("file-length", file.path, "<module>", MAX_FILE_LINES, advice)


def long_functions(files: Sequence[SourceFile]) -> Iterator[Offense]:
    """Find functions that are too long, but for the named hot paths."""
    unused = {key for key in HOT_PATHS if any(file.path == key.partition(":")[0] for file in files)}
    for file in files:
        for qualified, node in file.definitions:
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if isinstance(node, ast.ClassDef) or lines <= MAX_FUNCTION_LINES:
                continue
            key = f"{file.path}:{qualified}"
            unused.discard(key)
            if key not in HOT_PATHS:
                advice = f"{lines} lines, at most {MAX_FUNCTION_LINES}: split it, or name it in HOT_PATHS with a reason"
                yield Offense("function-length", file.path, qualified, node.lineno, advice)
    for key in sorted(unused):
        advice = "named in HOT_PATHS, and short or not there: remove the entry"
        yield Offense("function-length", key.partition(":")[0], key.partition(":")[2], 1, advice)
