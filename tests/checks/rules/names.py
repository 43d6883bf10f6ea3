"""Rules about names of modules, classes, functions and variables."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from tests.checks.source import Offense, SourceFile, words

NOUNS_IN_ING = words("""
    decoding encoding grouping logging mapping pending ping rating ring routing sampling setting spring string thing
    timing tracing tuning wiring
""")
PLACEHOLDERS = words("""
    one found told another given said heard
""")
"""Names that do not say what a variable holds."""
PARTICIPLES = words("""
    drawn found given gone heard held kept known lost made meant read_back said seen sent shown taken told unheard
    written
""")
JARGON = re.compile(
    r"(?:^|_)(?:settl\w*|(?<!dead_)lettered|(?<!dead_)lettering|veil\w*|beats|beating|told|anew|afresh|unheard|hears?|deeds?|wish(?:es)?)(?:_|$)"
)
CONTRACT_NAMES = frozenset({"settled_here"})
"""Names in JSON that scripts rely on."""


def duplicate_classes(files: Sequence[SourceFile]) -> Iterator[Offense]:
    """Find top-level classes of the product that share a name."""
    places = defaultdict(list)
    for file in files:
        if file.product:
            for node in file.tree.body:
                if isinstance(node, ast.ClassDef):
                    places[node.name].append((file.path, node.lineno))
    for name, classes in places.items():
        for path, line in classes if len(classes) > 1 else ():
            others = ", ".join(other for other, _ in classes if other != path)
            yield Offense("class-name", path, name, line, f"{others} has a class of this name too; a search finds both")


def gerund_modules(files: Sequence[SourceFile]) -> Iterator[Offense]:
    """Find modules and packages named by a gerund instead of the noun for what they contain."""
    for file in files:
        *folders, name = file.path.removesuffix(".py").split("/")
        name = folders[-1] if name == "__init__" else name
        words = name.removeprefix("test_").split("_")
        if not name.startswith("test_") and any(word.endswith("ing") and word not in NOUNS_IN_ING for word in words):
            yield Offense("module-name", file.path, name, 1, "name the module by a noun for what it contains")


def function_names(files: Sequence[SourceFile]) -> Iterator[Offense]:
    """Find functions that are named by a participle, and names in the project's former private language."""
    for file in files:
        if not file.product:
            continue
        for qualified, node in file.definitions:
            if node.name in CONTRACT_NAMES:
                continue
            if JARGON.search(node.name.lower()):
                yield Offense("jargon-name", file.path, qualified, node.lineno, "use the field's own word")
            elif not isinstance(node, ast.ClassDef) and _participle(node):
                advice = "name a function by a verb in the imperative (a factory: build_… or create_…)"
                yield Offense("function-name", file.path, qualified, node.lineno, advice)


def _participle(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    if any("property" in ast.unparse(decorator) for decorator in node.decorator_list):
        return False
    name = node.name.strip("_")
    if name in PARTICIPLES:
        return True
    is_predicate = node.returns is not None and ast.unparse(node.returns) == "bool"
    return (
        "_" not in name and name.endswith("ed") and name not in {"feed", "need", "seed", "embed"} and not is_predicate
    )


def variable_names(files: Sequence[SourceFile]) -> Iterator[Offense]:
    """Find parameters and variables named by a placeholder."""
    for file in files:
        if not file.product:
            continue
        seen = set()
        for name, line in _bound_names(file.nodes):
            if name not in PLACEHOLDERS or (file.owner(line), name) in seen:
                continue
            owner = file.owner(line)
            seen.add((owner, name))
            advice = "name a variable by its content, such as letter, entry or partition"
            yield Offense("variable-name", file.path, f"{owner}:{name}", line, advice)


def _bound_names(nodes: Iterable[ast.AST]) -> Iterable[tuple[str, int]]:
    for node in nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
