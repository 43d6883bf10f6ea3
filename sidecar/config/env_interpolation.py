"""Interpolation of `${NAME}` and `${NAME:-default}` from the environment.

It happens after YAML is parsed, so that no value can add YAML of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sidecar.domain.errors import Mistake
from sidecar.domain.secrets import is_secret_variable

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SYNTAX = "${NAME} or ${NAME:-default} ($${ for a plain ${)"
MAX_DEPTH = 5
"""Deepest nesting of defaults within defaults."""


class EnvironmentText(str):
    """A text that contains a value from the environment. It may be converted to a number or a boolean."""

    names: tuple[str, ...]

    def __new__(cls, text: str, names: tuple[str, ...]) -> EnvironmentText:
        made = super().__new__(cls, text)
        made.names = names
        return made

    @property
    def secret(self) -> bool:
        return any(is_secret_variable(name) for name in self.names)

    @property
    def origin(self) -> str:
        return ", ".join(f"${{{name}}}" for name in self.names)


def interpolate(value: Any, environ: Mapping[str, str], mistakes: list[Mistake], path: str = "") -> Any:
    """Replace the references in every text of plain data.

    Missing variables and malformed references are added to `mistakes`, with their paths.
    """
    if isinstance(value, dict):
        return {
            key: interpolate(item, environ, mistakes, f"{path}.{key}" if path else key) for key, item in value.items()
        }
    if isinstance(value, list):
        return [interpolate(item, environ, mistakes, f"{path}[{number}]") for number, item in enumerate(value)]
    if isinstance(value, str) and "${" in value:
        return _Interpolation(environ, mistakes, path).fill(value)
    return value


class _Interpolation:
    """One text being filled in."""

    def __init__(self, environ: Mapping[str, str], mistakes: list[Mistake], path: str) -> None:
        self._environ, self._mistakes, self._path = environ, mistakes, path
        self._names: list[str] = []

    def fill(self, text: str) -> str:
        before = len(self._mistakes)
        filled = self._fill_level(text, 0)
        if len(self._mistakes) > before:
            return UnresolvedValue(text)
        return EnvironmentText(filled, tuple(dict.fromkeys(self._names))) if self._names else filled

    def _fill_level(self, text: str, depth: int) -> str:
        parts: list[str] = []
        at = 0
        while (opening := text.find("${", at)) >= 0:
            if opening > at and text[opening - 1] == "$":
                parts.append(text[at : opening - 1] + "${")
                at = opening + 2
                continue
            parts.append(text[at:opening])
            closing = _find_closing_brace(text, opening + 2)
            if closing is None or depth == MAX_DEPTH:
                self._wrong(_SYNTAX, "a ${ without its }" if closing is None else "defaults nested too deep")
                return ""
            parts.append(self._variable(text[opening + 2 : closing], depth))
            at = closing + 1
        return "".join(parts) + text[at:]

    def _variable(self, inside: str, depth: int) -> str:
        name, default, fallback = inside.partition(":-")
        if not _NAME.fullmatch(name):
            self._wrong(_SYNTAX, "something else between the braces" if default else f"${{{name[:60]}}}")
            return ""
        self._names.append(name)
        value = self._environ.get(name, "")
        if value or (not default and name in self._environ):
            return value
        if default:
            return self._fill_level(fallback, depth + 1)
        self._wrong(f"the environment variable {name} (or a default: ${{{name}:-…}})", "it is not set")
        return ""

    def _wrong(self, expected: str, actual: str) -> None:
        self._mistakes.append(Mistake(self._path, expected, actual))


class UnresolvedValue(str):
    """A value that could not be resolved. Its mistake is recorded already, so it causes no further ones."""


def _find_closing_brace(text: str, at: int) -> int | None:
    """Return the index of the brace that closes the one before `at`."""
    level = 1
    for index in range(at, len(text)):
        level += {"{": 1, "}": -1}.get(text[index], 0)
        if level == 0:
            return index
    return None
