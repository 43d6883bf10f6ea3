"""The rules, each a function from source files to offenses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tests.checks.rules import brokers, constants, dependencies, imports, names, prose, sizes
from tests.checks.source import Offense, SourceFile

Rule = Callable[[Sequence[SourceFile]], Iterable[Offense]]

RULES: tuple[Rule, ...] = (
    names.duplicate_classes,
    names.gerund_modules,
    names.function_names,
    names.variable_names,
    constants.units,
    prose.banned_words,
    prose.first_lines,
    sizes.long_files,
    sizes.long_functions,
    brokers.comparisons,
    imports.missing_names,
    dependencies.dependencies,
)
