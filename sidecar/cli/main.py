"""Entry point of the command line: parses the arguments and runs the command."""

from __future__ import annotations

import sys

from sidecar.cli.errors import FAILED, INTERRUPTED, WRONG_USAGE, end_unread, fail_on_query, say
from sidecar.domain.errors import ConfigError, QueryError, TracecarError


def run_command_line() -> None:
    """Parse the arguments and run the command that they name. Exits."""
    from sidecar.cli.app import app

    _survive_any_text()
    try:
        app()
    except BrokenPipeError:
        end_unread()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except ConfigError as error:
        for mistake in error.mistakes:
            say(f"{error.source}: {mistake}" if error.source else str(mistake))
        sys.exit(WRONG_USAGE)
    except QueryError as error:
        fail_on_query(str(error), error.query, error.at)
    except TracecarError as error:
        say(str(error))
        sys.exit(FAILED)


def _survive_any_text() -> None:
    """What the terminal's encoding has no character for is escaped, not a crash."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
