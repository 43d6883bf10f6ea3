"""Running a command: what goes wrong becomes words for people on stderr, and the contract's exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

from sidecar.errors import ConfigError, QueryError, TracecarError

T = TypeVar("T")

FAILED, WRONG_USAGE, NO_SIDECAR, INTERRUPTED = 1, 2, 3, 130


def run_command_line() -> None:
    """Parse the arguments and run the command that they name. Exits."""
    from sidecar.cli.app import app

    _survive_any_text()
    try:
        app()
    except BrokenPipeError:
        _end_unread()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except ConfigError as error:
        for mistake in error.mistakes:
            say(f"{error.source}: {mistake}" if error.source else str(mistake))
        sys.exit(WRONG_USAGE)
    except QueryError as error:
        _fail_on_query(str(error), error.query, error.at)
    except TracecarError as error:
        say(str(error))
        sys.exit(FAILED)


def ask(work: Coroutine[Any, Any, T]) -> T:
    """Runs what asks a sidecar. Exits where the sidecar does not answer as asked."""
    import asyncio

    from sidecar.api.client import BadRequest, ClientError, Unauthorised, Unreachable

    try:
        return asyncio.run(work)
    except BrokenPipeError:  # before Typer calls it a failure
        _end_unread()
    except (Unreachable, Unauthorised) as error:
        say(str(error))
        sys.exit(NO_SIDECAR)
    except BadRequest as error:
        _fail_on_query(str(error), error.query, error.at)
    except ClientError as error:
        say(str(error))
        sys.exit(FAILED)


def say(message: str) -> None:
    """A sentence for the person, on stderr."""
    from sidecar.cli.text import clean

    for line in message.splitlines() or [""]:
        sys.stderr.write(f"tracecar: {clean(line)}\n")


def _end_unread() -> NoReturn:
    """Who read us has seen enough. Python would complain at exit when it flushes."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


def _fail_on_query(message: str, query: str | None, at: int | None) -> NoReturn:
    from sidecar.cli.text import clean

    say(message)
    if query is not None and at is not None:
        before, after = clean(query[:at]), clean(query[at:])
        sys.stderr.write(f"  {before}{after}\n  {' ' * len(before)}^\n")
    sys.exit(WRONG_USAGE)


def _survive_any_text() -> None:
    """What the terminal's encoding has no character for is escaped, not a crash."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
