"""Running a command: what goes wrong becomes words for people on stderr, and the contract's exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")
FAILED, WRONG_USAGE, NO_SIDECAR, INTERRUPTED = 1, 2, 3, 130


def ask(work: Coroutine[Any, Any, T]) -> T:
    """Runs what asks a sidecar. Exits where the sidecar does not answer as asked."""
    import asyncio

    from sidecar.api.client.client import BadRequest, ClientError, Unauthorized, Unreachable

    try:
        return asyncio.run(work)
    except BrokenPipeError:  # before Typer calls it a failure
        end_unread()
    except (Unreachable, Unauthorized) as error:
        say(str(error))
        sys.exit(NO_SIDECAR)
    except BadRequest as error:
        fail_on_query(str(error), error.query, error.at)
    except ClientError as error:
        say(str(error))
        sys.exit(FAILED)


def say(message: str) -> None:
    """A sentence for the person, on stderr."""
    from sidecar.cli.sanitize import clean

    for line in message.splitlines() or [""]:
        sys.stderr.write(f"tracecar: {clean(line)}\n")


def end_unread() -> NoReturn:
    """Who read us has seen enough. Python would complain at exit when it flushes."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


def fail_on_query(message: str, query: str | None, at: int | None) -> NoReturn:
    from sidecar.cli.sanitize import clean

    say(message)
    if query is not None and at is not None:
        before, after = clean(query[:at]), clean(query[at:])
        sys.stderr.write(f"  {before}{after}\n  {' ' * len(before)}^\n")
    sys.exit(WRONG_USAGE)
