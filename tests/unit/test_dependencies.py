"""Compares the imports in the code with the dependencies that pyproject.toml declares."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = ("sidecar", "exporters", "tui")
TESTS = ("tests", "helm")
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


def declared(*extras: str) -> set[str]:
    """Return the names of the declared dependencies, with those of the extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    requirements = [*project["dependencies"], *(requirement for extra in extras for requirement in optional[extra])]
    return {_normalized(re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]) for requirement in requirements}


@cache
def imported(folders: tuple[str, ...]) -> dict[str, str]:
    """Return the distributions that the files of these folders import, each with an example."""
    found: dict[str, str] = {}
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*.py")):
            for module in _modules(ast.parse(file.read_text())):
                if module.partition(".")[0] in {*sys.stdlib_module_names, *NEWER_STDLIB, *PRODUCT, *TESTS}:
                    continue
                found.setdefault(_distribution(module), f"{file.relative_to(ROOT)} imports {module}")
    return found


@pytest.mark.parametrize(
    ("folders", "extras"), [(PRODUCT, ("demo", "history")), (TESTS, ("demo", "docs", "history", "test"))]
)
def test_every_imported_package_is_declared(folders: tuple[str, ...], extras: tuple[str, ...]) -> None:
    missing = {name: why for name, why in imported(folders).items() if name not in declared(*extras)}
    assert not missing, "add these to pyproject.toml"


def test_every_declared_dependency_is_imported() -> None:
    used = {*imported(PRODUCT), *imported(TESTS), *USED_WITHOUT_IMPORT}
    assert declared("demo", "docs", "history", "test") - used == set()


def test_the_check_sees_a_package_that_is_not_declared() -> None:
    assert _distribution("markdown_it.token") == "markdown-it-py"
    assert "markdown-it-py" not in declared("demo", "docs", "history", "test")


def _modules(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            yield node.module


@cache
def _distribution(module: str) -> str:
    """Return the distribution that installed a module. Namespaces such as `google` belong to several."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # from an extra that `make setup` does not install
        return _normalized(module.partition(".")[0])
    assert spec is not None, f"{module} is not installed"
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
