"""The rules about dependencies: imports are declared, declared packages are used, private names have a bound."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

from tests.checks.source import PRODUCT, ROOT, Offense, SourceFile

EXTRAS = ("demo", "history")
"""The extras whose packages the product imports."""
TOOL_EXTRAS = (*EXTRAS, "docs", "test")
"""The extras whose packages tests and build tools import."""
TOOLS = ("tests", "helm")
USED_WITHOUT_IMPORT = {
    "codespell",  # command-line programs
    "import-linter",
    "mkdocs-material",
    "mypy",
    "ruff",
    "schemathesis",
    "types-pyyaml",  # types only
    "pytest-asyncio",  # pytest plugins
    "pytest-textual-snapshot",
    "pytest-timeout",
    "pytest-xdist",
}


NEWER_STDLIB = {"compression"}
"""Modules of newer Pythons' standard libraries, imported there only."""


def declared_packages(*extras: str) -> dict[str, str]:
    """Return the declared dependencies and those of the extras: the requirement by the distribution's name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    requirements = [*project["dependencies"], *(requirement for extra in extras for requirement in optional[extra])]
    return {
        _normalized(re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]): requirement for requirement in requirements
    }


def dependencies(files: Sequence[SourceFile]) -> Iterator[Offense]:
    """Find imported packages that are not declared, and private names of packages without an upper bound."""
    product, tools = declared_packages(*EXTRAS), declared_packages(*TOOL_EXTRAS)
    for file in files:
        if file.path.partition("/")[0] not in {*PRODUCT, *TOOLS}:
            continue
        declared = product if file.product else tools
        for module, line, names in _imported_modules(file):
            name = distribution_of(module)
            if name not in declared:
                yield Offense("undeclared-import", file.path, module, line, f"add {name} to pyproject.toml")
            elif _is_private(module, names) and "<" not in declared[name]:
                advice = f"a private name can change in any release of {name}: give it an upper bound in pyproject.toml"
                yield Offense("private-import", file.path, module, line, advice)


def unused_dependencies(files: Sequence[SourceFile]) -> Iterator[Offense]:
    """Find declared packages that no file imports."""
    imported = {distribution_of(module) for file in files for module, _, _ in _imported_modules(file)}
    for name in sorted(declared_packages(*TOOL_EXTRAS).keys() - imported - USED_WITHOUT_IMPORT):
        yield Offense("unused-dependency", "pyproject.toml", name, 1, "no file imports it")


def _imported_modules(file: SourceFile) -> Iterator[tuple[str, int, list[str]]]:
    """Yield the modules of other packages that a file imports, with the line and the names taken from them."""
    own = {*sys.stdlib_module_names, *NEWER_STDLIB, *PRODUCT, *TOOLS}
    for node in file.nodes:
        modules: list[str] = []
        names: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            modules, names = [node.module], [alias.name for alias in node.names]
        yield from ((module, node.lineno, names) for module in modules if module.partition(".")[0] not in own)


def _is_private(module: str, names: Sequence[str]) -> bool:
    parts = [*module.split("."), *names]
    return any(part.startswith("_") and not part.startswith("__") for part in parts)


@cache
def distribution_of(module: str) -> str:
    """Return the distribution that installed a module. Namespaces such as `google` belong to several."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # from an extra that `make setup` does not install
        return _normalized(module.partition(".")[0])
    if spec is None:
        return _normalized(module.partition(".")[0])
    if spec.origin is not None:
        return _owners()[str(Path(spec.origin).resolve())]
    names = {name for place in spec.submodule_search_locations or () for name in _owners_below(place)}
    assert len(names) == 1, f"{module} is a namespace of {sorted(names)}: import a module of one of them"
    return names.pop()


def _owners_below(folder: str) -> set[str]:
    below = f"{Path(folder).resolve()}/"
    return {name for file, name in _owners().items() if file.startswith(below)}


@cache
def _owners() -> dict[str, str]:
    return {
        str(Path(str(distribution.locate_file(file))).resolve()): _normalized(distribution.metadata["Name"])
        for distribution in distributions()
        for file in distribution.files or ()
    }


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
