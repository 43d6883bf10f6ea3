"""Queries as arguments: `-status:ok` negates, and is no option."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from typer.core import TyperCommand

if TYPE_CHECKING:
    from typer._click.core import Context  # what Typer's own signature says

_NEGATED = "\0"


class QueryCommand(TyperCommand):
    """A command whose arguments are a query: what begins with one `-` and is longer than a letter belongs to it."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [_NEGATED + arg if _negates(arg) else arg for arg in args])


def _negates(arg: str) -> bool:
    return len(arg) > 2 and arg[0] == "-" and arg[1] != "-"


def joined(words: Sequence[str] | None) -> str:
    """The query that the arguments are."""
    return " ".join(plain(word) for word in words or ())


def plain(word: str) -> str:
    """An argument as it was written."""
    return word.removeprefix(_NEGATED)
