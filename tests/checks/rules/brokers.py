"""The rule that only adapters, the wiring and the demo know a broker by its name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

from tests.checks.source import Offense, SourceFile

BROKERS = re.compile(r"(?:kafka|redis)(?:://)?")
MAY_NAME_BROKERS = ("sidecar/adapters/", "sidecar/demo/", "sidecar/runtime/wiring")
ADVICE = "ask BrokerTraits; only adapters and the wiring know a broker's name"


def comparisons(files: Sequence[SourceFile]) -> Iterator[Offense]:
    """Find code that branches on a broker's name, or reads one broker's section of the configuration."""
    for file in files:
        if not file.product or file.path.startswith(MAY_NAME_BROKERS):
            continue
        seen = set()
        for node in file.nodes:
            owner = file.owner(node.lineno) if _names_broker(node, file.path) else None
            if owner is not None and owner not in seen:
                seen.add(owner)
                yield Offense("broker-name", file.path, owner, node.lineno, ADVICE)


def _names_broker(node: ast.AST, path: str) -> bool:
    if isinstance(node, ast.Compare):
        return any(_broker_text(part) for side in [node.left, *node.comparators] for part in _parts(side))
    if isinstance(node, ast.MatchValue):
        return _broker_text(node.value)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in {"startswith", "get"}:
        return any(_broker_text(part) for argument in node.args[:1] for part in _parts(argument))
    if isinstance(node, ast.Dict):
        return any(key is not None and _broker_text(key) for key in node.keys)
    if isinstance(node, ast.Attribute) and node.attr in {"kafka", "redis"} and not path.startswith("sidecar/config/"):
        return ast.unparse(node.value).endswith("sources")
    return False


def _parts(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else [node]


def _broker_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and bool(BROKERS.fullmatch(node.value))
