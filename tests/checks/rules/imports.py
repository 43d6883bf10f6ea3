"""The rule that what is imported from the project is there, in tests too, which mypy does not read."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from tests.checks.source import Offense, SourceFile


def missing_names(files: Sequence[SourceFile]) -> Iterator[Offense]:
    """Find `from MODULE import NAME` of a module or a name that the project does not have."""
    names = {_module(file.path): _top_level_names(file) for file in files}
    roots = {module.partition(".")[0] for module in names}
    for file in files:
        for node in file.nodes:
            if not isinstance(node, ast.ImportFrom) or node.module is None or node.level:
                continue
            if node.module.partition(".")[0] not in roots:
                continue
            defined = names.get(node.module)
            for alias in node.names:
                if f"{node.module}.{alias.name}" in names or (defined is not None and alias.name in defined):
                    continue
                subject = f"{node.module}.{alias.name}"
                yield Offense("missing-import", file.path, subject, node.lineno, "renamed or moved: no such name")


def _module(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def _top_level_names(file: SourceFile) -> set[str]:
    names = set()
    pending: list[ast.AST] = [file.tree]
    while pending:
        for node in ast.iter_child_nodes(pending.pop()):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                names.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
            else:
                pending.append(node)
    return names
