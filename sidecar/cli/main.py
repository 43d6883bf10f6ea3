"""Entry point of the command line: parses the arguments and runs the command."""

from __future__ import annotations

import sys

from sidecar.cli.errors import (
    FAILED_CODE,
    INTERRUPTED_CODE,
    USAGE_CODE,
    exit_bad_query,
    print_error,
)
from sidecar.domain.errors import ConfigError, QueryError, TracecarError


def run_command_line() -> None:
    """Parse the arguments and run the command that they name. Exits."""
    from sidecar.cli.app import app

    _escape_unencodable_text()
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED_CODE)
    except ConfigError as error:
        for mistake in error.mistakes:
            print_error(f"{error.source}: {mistake}" if error.source else str(mistake))
        sys.exit(USAGE_CODE)
    except QueryError as error:
        exit_bad_query(str(error), error.query, error.at, error.did_you_mean)
    except TracecarError as error:
        print_error(str(error))
        sys.exit(FAILED_CODE)


def _escape_unencodable_text() -> None:
    """Escape characters that the terminal's encoding lacks, instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
