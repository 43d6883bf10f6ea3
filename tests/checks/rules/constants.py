"""The rule that a numeric constant says its subject and its unit."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

from tests.checks.source import Offense, SourceFile, words

TIME = words("""
    S SECONDS MS MILLISECONDS US MICROSECONDS NS NANOSECONDS MINUTES HOURS DAYS
""")
AMOUNT = words("""
    BYTES BITS CHARS CHARACTERS DIGITS LINES ROWS COLUMNS CELLS RECORDS EVENTS ENTRIES LETTERS HEADERS FIELDS VALUES
    SPANS LOGS MESSAGES BATCHES PAGES SAMPLES SERIES STREAMS PARTITIONS GROUPS MEMBERS CONSUMERS CONNECTIONS
    REQUESTS SUBSCRIBERS WINDOWS SHARDS SLOTS SEGMENTS KEYS IDS NAMES TYPES SCHEMAS REFERENCES CAUSES FLOWS JOBS
    STEPS ATTEMPTS RETRIES TRIES YIELDS ITEMS ELEMENTS LEVELS CHANGES GAPS FILES TASKS SCANS POLLS COUNT DEPTH WIDTH
    HEIGHT RATIO PERCENT SHARE FACTOR WEIGHT PORT CODE STATUS VERSION INDEX OFFSET ORDINAL NUMBER ID FLAG MASK TAG
    MAGIC BYTE PRIORITY RATE CONCURRENCY SCALE PRECISION EXPONENT BASE SEED EPOCH GENERATION POSITION MINIMUM
""")
VAGUE = words("""
    PATIENCE MOST FEW FEWEST AT_ONCE EVERY TURN TURNS LEAST LONGEST LARGEST DEEPEST FARTHEST BIGGEST AGAIN SECONDS
    MILLISECONDS BEHIND FAREWELL
""")
"""Words that name a limit without its subject, alone or in front."""
TIMES = words("""
    WAIT TIMEOUT INTERVAL DELAY AGE PAUSE DURATION TTL LIFETIME PERIOD BACKOFF GRACE IDLE PACE
""")
"""Nouns of time, after which the unit must follow."""
ADVICE = "say the subject and the unit, as COMMIT_RETRY_MAX_S, MAX_HEADERS_PER_RECORD or POLL_INTERVAL_S do"


def units(files: Sequence[SourceFile]) -> Iterator[Offense]:
    """Find numeric constants whose name lacks a subject or a unit."""
    for file in files:
        if not file.product:
            continue
        for name, value, line in _constants(file):
            if _numeric(value) and not says_subject_and_unit(name, floating=_floating(value)):
                yield Offense("constant-name", file.path, name, line, ADVICE)


def says_subject_and_unit(name: str, *, floating: bool = False) -> bool:
    """Check one name. A number with a fraction needs a unit of time, a ratio or the like at its end."""
    name = name.strip("_")
    words = name.split("_")
    if any(re.match(rf"(?:.*_)?{vague}(?:_|$)", name) for vague in ("PATIENCE", "AT_ONCE", "FAREWELL")):
        return False
    if words[0] in VAGUE or len(words) == 1:
        return False
    if words[-1] in TIME:
        return True
    if words[-1] in {"MAX", "MIN"}:
        return len(words) > 2 and words[-2] in AMOUNT
    if words[-1] in TIMES:
        return False
    if words[-1] in AMOUNT or "PER" in words:
        return True
    return not floating and words[0] in {"MAX", "MIN"} and words[-1].endswith("S")


def _constants(file: SourceFile) -> Iterator[tuple[str, ast.expr, int]]:
    bodies = [file.tree.body] + [
        node.body for _, node in file.definitions if isinstance(node, ast.ClassDef) and not _enum(node)
    ]
    for body in bodies:
        for node in body:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    yield from _pairs(target, node.value)
            elif isinstance(node, ast.AnnAssign) and node.value is not None:
                yield from _pairs(node.target, node.value)


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr, int]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for inner, part in zip(target.elts, value.elts, strict=False):
            yield from _pairs(inner, part)
    elif isinstance(target, ast.Name) and re.fullmatch(r"_?[A-Z][A-Z0-9_]*", target.id):
        yield target.id, value, target.lineno


def _enum(node: ast.ClassDef) -> bool:
    return any("Enum" in ast.unparse(base) or "Flag" in ast.unparse(base) for base in node.bases)


def _numeric(value: ast.expr) -> bool:
    if isinstance(value, ast.Constant):
        return isinstance(value.value, int | float) and not isinstance(value.value, bool)
    if isinstance(value, ast.UnaryOp):
        return _numeric(value.operand)
    return isinstance(value, ast.BinOp) and (_numeric(value.left) or _numeric(value.right)) and not _text(value)


def _text(value: ast.expr) -> bool:
    return any(
        isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) for node in ast.walk(value)
    ) or any(isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict) for node in ast.walk(value))


def _floating(value: ast.expr) -> bool:
    return any(isinstance(node, ast.Constant) and isinstance(node.value, float) for node in ast.walk(value))
