"""Runs a command: errors become messages on stderr and the documented exit codes."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

from sidecar.cli.sanitize import sanitize_line

T = TypeVar("T")
FAILED_CODE, USAGE_CODE, UNREACHABLE_CODE, INTERRUPTED_CODE = 1, 2, 3, 130


def run_client(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that calls a sidecar. If the call fails, exit with the documented code."""
    import asyncio

    from sidecar.api.client.client import BadRequest, ClientError, Unauthorized, Unreachable

    try:
        return asyncio.run(work)
    except (Unreachable, Unauthorized) as error:
        print_error(str(error))
        sys.exit(UNREACHABLE_CODE)
    except BadRequest as error:
        exit_bad_query(str(error), error.query, error.at, error.did_you_mean)
    except ClientError as error:
        print_error(str(error))
        sys.exit(FAILED_CODE)


def print_error(message: str) -> None:
    """Print a message on stderr, each line with the program's name."""
    for line in message.splitlines() or [""]:
        sys.stderr.write(f"tracecar: {sanitize_line(line)}\n")


def exit_unread() -> NoReturn:
    """Exit after the reader of stdout has closed the pipe, so that Python reports no error when it flushes."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


def exit_bad_query(message: str, query: str | None, at: int | None, did_you_mean: str | None = None) -> NoReturn:
    """Print what is wrong with a query, with a mark at the position, and exit."""
    print_error(message)
    if query is not None and at is not None:
        before, after = sanitize_line(query[:at]), sanitize_line(query[at:])
        sys.stderr.write(f"  {before}{after}\n  {' ' * len(before)}^\n")
    print_suggestion(did_you_mean)
    sys.exit(USAGE_CODE)


def print_suggestion(query: str | None) -> None:
    """Print the query that was probably meant on stderr, quoted for a shell."""
    if query is not None:
        sys.stderr.write(f"did you mean: {sanitize_line(shlex.quote(query))}\n")
