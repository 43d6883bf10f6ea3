"""Python files as the rules read them: a syntax tree with qualified names, docstrings and comments."""

from __future__ import annotations

import ast
import subprocess
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PRODUCT = ("sidecar", "exporters", "tui")

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True, order=True)
class Offense:
    """One place where a rule is broken."""

    rule: str
    path: str
    subject: str
    line: int
    advice: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.subject}: {self.advice}"


@dataclass(frozen=True)
class Prose:
    """A text that a person reads: a docstring, a comment, a message, or a line of a document."""

    kind: str
    owner: str
    line: int
    text: str


@dataclass(frozen=True)
class SourceFile:
    """One Python file of the project."""

    path: str
    text: str

    @property
    def product(self) -> bool:
        """True for what is shipped; False for tests and the tools of the build."""
        return self.path.split("/")[0] in PRODUCT

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Every node of the tree."""
        return list(ast.walk(self.tree))

    @cached_property
    def definitions(self) -> list[tuple[str, Definition]]:
        """Every function and class with its qualified name, outer ones first."""
        return list(_definitions(self.tree, ""))

    @cached_property
    def docstrings(self) -> list[tuple[str, ast.AST, ast.Constant]]:
        """Docstrings of the module, its classes and functions, and the strings that document attributes."""
        texts = []
        for node in self.nodes:
            body = getattr(node, "body", None)
            if not isinstance(body, list):
                continue
            for previous, child in zip([node, *body], body, strict=False):
                if not (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)):
                    continue
                if isinstance(child.value.value, str):
                    owner = self.owner(child.lineno)
                    if isinstance(previous, ast.Assign | ast.AnnAssign):
                        owner = f"{owner}.{_target(previous)}".removeprefix("<module>.")
                    texts.append((owner, previous, child.value))
        return texts

    @cached_property
    def comments(self) -> list[tuple[int, str]]:
        """Comments with their line numbers; directives for tools left out."""
        if "#" not in self.text:
            return []
        tokens = tokenize.generate_tokens(StringIO(self.text).readline)
        comments = [(token.start[0], token.string.lstrip("# ")) for token in tokens if token.type == tokenize.COMMENT]
        return [(line, text) for line, text in comments if not text.startswith(("noqa", "type:", "ruff:", "fmt:"))]

    @cached_property
    def prose(self) -> list[Prose]:
        """All that a person reads in this file."""
        documented = {id(constant) for _, _, constant in self.docstrings}
        texts = [Prose("docstring", owner, node.lineno, node.value) for owner, _, node in self.docstrings]
        texts += [Prose("comment", self.owner(line), line, text) for line, text in self.comments]
        for node in self.nodes:
            if not (isinstance(node, ast.Constant) and isinstance(node.value, str)) or id(node) in documented:
                continue
            if " " in node.value.strip():
                texts.append(Prose("string", self.owner(node.lineno), node.lineno, node.value))
        return texts

    def owner(self, line: int) -> str:
        """The qualified name of the innermost function or class around a line, or `<module>`."""
        return self._owners[line] if line < len(self._owners) else "<module>"

    @cached_property
    def _owners(self) -> list[str]:
        owners = ["<module>"] * (self.text.count("\n") + 2)
        for qualified, node in self.definitions:
            end = node.end_lineno or node.lineno
            owners[node.lineno : end + 1] = [qualified] * (end + 1 - node.lineno)
        return owners


def _definitions(node: ast.AST, prefix: str) -> Iterator[tuple[str, Definition]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Definition):
            yield prefix + child.name, child
            yield from _definitions(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.stmt):
            yield from _definitions(child, prefix)


def _target(node: ast.Assign | ast.AnnAssign) -> str:
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    return ast.unparse(target).replace(" ", "")


def read_python(root: Path = ROOT) -> list[SourceFile]:
    """Read every Python file that is, or is about to be, in the repository."""
    return [SourceFile(path, (root / path).read_text()) for path in _listed(root, "*.py") if (root / path).exists()]


def read_documents(root: Path = ROOT) -> list[tuple[str, str]]:
    """Read the documents and the chart: pairs of path and text."""
    paths = _listed(root, "*.md", "helm/*.yaml", "helm/*.txt", "helm/*.tpl", ".github/*.yml", "examples/*")
    texts = [(path, root / path) for path in paths if not path.startswith("tests/")]
    return [(path, file.read_text()) for path, file in texts if file.is_file()]


def words(text: str) -> frozenset[str]:
    """Split a list of words."""
    return frozenset(text.split())


def _listed(root: Path, *patterns: str) -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    return sorted(set(subprocess.check_output(command, cwd=root, text=True).splitlines()))
